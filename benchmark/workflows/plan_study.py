"""Workflow of `bench plan`: probe runs, estimate time and memory, print a table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.config.study import StudySettings
from benchmark.engine.estimate import Estimate, estimate
from benchmark.engine.probe import time_run
from benchmark.planning.study_plan import plan_study
from benchmark.runs.root import open_store
from benchmark.runs.run_folder import RunFolder
from benchmark.terminal.output import make_console, print_table
from benchmark.text.numbers import duration, mebibytes
from clothclf.cost.measure.busy import busy_now
from clothclf.errors import TrainingError
from clothclf.memory import available_memory_bytes

FITS = "to run"
COLUMNS = ("architecture and seed", "precision", "time", "peak memory", "state")


def show_plan(study: StudySettings, requested: Sequence[str]) -> int:
    """Print the plan; return 1 if a run cannot be started or does not fit, else 0."""
    console = make_console()
    root = open_store(study)
    specs, _ = plan_study(study, requested, root, console)
    rows, seconds, failures, finished = [], 0.0, 0, 0
    busy = busy_now()
    for number, spec in enumerate(specs, 1):

        def notify(text: str, prefix: str = f"[{number}/{len(specs)}]") -> None:
            console.print(f"{prefix} {text}", markup=False)

        try:
            timed = time_run(spec, notify, busy=busy)
            busy = busy or timed.busy
            estimated = estimate(spec, timed)
        except TrainingError as error:
            failures += 1
            rows.append([spec.name, spec.precision, "-", "-", f"cannot start: {error}"])
            continue
        if RunFolder.of(root, spec).record() is not None:
            state = "finished"
            finished += 1
        else:
            state = describe_fit(estimated)
            failures += state != FITS
            seconds += estimated.seconds * (state == FITS)
        memory = mebibytes(estimated.peak_memory_bytes)
        rows.append([spec.name, estimated.precision, duration(estimated.seconds), memory, state])
    print_table(make_console(stderr=False), COLUMNS, rows, f"plan of {study.study}")
    if busy:
        console.print(f"{busy}: times are longer than on an idle machine", style="yellow")
    bound = "at most " if study.train.patience else ""
    to_run = len(specs) - finished - failures
    left = f"{bound}{duration(seconds)} for {to_run} runs, one after the other"
    console.print(f"done: {finished} of {len(specs)} runs; left: {left if to_run else 'nothing'}")
    return 1 if failures else 0


def describe_fit(estimated: Estimate) -> str:
    """Describe whether a run fits in the available memory, for the column `state`."""
    available = available_memory_bytes()
    if estimated.working_memory_bytes <= available:
        return FITS
    needed = mebibytes(estimated.working_memory_bytes)
    return f"does not fit: needs {needed}, {mebibytes(available)} available"
