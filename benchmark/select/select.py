"""Run `bench select`: find candidates, run all rungs, store and print the result."""

from __future__ import annotations

import dataclasses
import shlex
import signal
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmark.config.study import StudySettings
from benchmark.engine.scheduler import Policy
from benchmark.engine.stopping import StopRequest
from benchmark.errors import SelectError, TrackingError
from benchmark.planning.study_plan import check_device, prepare_sizes, warn_of_shrinking
from benchmark.runs.root import cache_folder, open_store, tracking_uri
from benchmark.select import select_text
from benchmark.select.agreement import MIN_SAMPLED
from benchmark.select.candidates import find_candidates, resolve_weights
from benchmark.select.clock import RESULT, Clock
from benchmark.select.execution import FINAL_STEPS_S, ROUNDED_UP, Options
from benchmark.select.outcome import Outcome
from benchmark.select.run_rung import SelectionContext
from benchmark.select.rung import ImageCounts
from benchmark.select.rung_schedule import BudgetError, expected_s, make_schedule, too_small
from benchmark.select.rung_studies import rung_study, training_of
from benchmark.select.selection_result import store_result
from benchmark.select.selection_run import SelectionRun
from benchmark.select.selection_state import (
    Candidate,
    Final,
    Request,
    Selection,
    read_selection,
    selection_file,
    selection_name,
    write_selection,
)
from benchmark.select.timing import time_machine
from benchmark.terminal.output import make_console, print_table
from benchmark.text.numbers import duration
from clothclf.data.atomic import STANDARD_OUTPUT
from clothclf.results import Weights


def run_selection(study: StudySettings, request: Request, options: Options) -> int:
    """Run or resume a selection; returns 0, or 1 if no architecture finished.

    Raises UserError for invalid input, and KeyboardInterrupt on Ctrl-C or SIGTERM, with all
    progress saved.
    """
    if 0 < options.check_sample < MIN_SAMPLED:
        raise SelectError(f"--check-sample {options.check_sample}: must be at least {MIN_SAMPLED}")
    if study.train.teacher.runs:
        raise SelectError(
            "train.teacher.runs: a selection does not support distillation; remove it, and train "
            "the winner with a teacher using `bench run`"
        )
    check_device(study)
    signal.signal(signal.SIGTERM, _interrupt)
    console = make_console()
    root = open_store(study)
    clock = Clock(request.budget_s)
    selection, weights = _open_selection(study, request, options, root, clock, console)
    if options.dry_run:
        return 0
    resumed = read_selection(root, selection.name) is not None
    clock.persist(root, selection.name, resumed)
    if selection.complete:
        clock.stop()
    if not resumed:
        write_selection(root, selection)
    console.print(f"selection file: {selection_file(root, selection.name)}")
    policy = Policy(retry_failed=options.retry_failed, workers=options.workers)
    with StopRequest().listening() as stop:
        context = SelectionContext(root, selection.name, console, policy, stop, weights, clock)
        outcome = SelectionRun(study, selection, context, options).run()
        store_result(root, study, outcome)
        _publish(outcome, study, root, console)
        clock.enter(RESULT)
        _notify(dataclasses.replace(outcome, spent_s=clock.seconds), options, root, console)
    return 0 if outcome.winner else 1


def _open_selection(
    study: StudySettings,
    request: Request,
    options: Options,
    root: Path,
    clock: Clock,
    console: Console,
) -> tuple[Selection, dict[str, Weights]]:
    """Resume a stored selection or start a new one; also returns the weights by architecture."""
    console.print(f"study {study.study}: reading data and architectures")
    cache = cache_folder(root)
    candidates, weights = find_candidates(study, request.patterns, cache, console.print)
    remaining = [candidate for candidate in candidates if not candidate.out]
    if not remaining:
        raise SelectError(_all_excluded(candidates))
    entries = [candidate.architecture for candidate in remaining]
    data, pixels = prepare_sizes(study, entries, console)
    warn_of_shrinking(data, pixels, console)
    name = selection_name(study, request, data.summary.fingerprint)
    stored = read_selection(root, name)
    if stored is not None:
        state = "is complete" if stored.complete else "is resumed"
        console.print(f"selection {name} {state}")
        select_text.describe(console, stored.candidates, name, stored.rungs, stored.final)
        return stored, resolve_weights([it.architecture for it in stored.remaining], study)[0]
    images = data.summary.images
    image_counts = ImageCounts(
        train=images["train"],
        valid=images["valid"],
        test=images["test"],
        classes=len(data.summary.classes),
    )
    final = _final(study, request, weights)
    console.print("timing this machine")
    few = remaining if len(remaining) <= request.finalists else []
    speed = time_machine(study, data, pixels, root, options.workers, few, console.print)
    training = training_of(study, final, image_counts)
    gmacs = [candidate.gmacs for candidate in remaining]
    left_s = clock.left_s - FINAL_STEPS_S
    try:
        rungs = make_schedule(gmacs, image_counts, training, request.finalists, left_s, speed)
    except BudgetError as error:
        needed_s = (request.budget_s - left_s + expected_s(error.shortest)) * ROUNDED_UP
        raise SelectError(too_small(request.budget_s, len(gmacs), needed_s)) from None
    select_text.describe(console, candidates, name, rungs, final)
    expected = duration(request.budget_s - left_s + expected_s(rungs))
    console.print(f"expected time: {expected} of a budget of {duration(request.budget_s)}")
    selection = Selection(
        name=name,
        request=request,
        fingerprint=data.summary.fingerprint,
        image_counts=image_counts,
        final=final,
        candidates=candidates,
        speed=speed,
        rungs=(rungs[0].model_copy(update={"available_s": left_s}),),
    )
    return selection, weights


def _final(study: StudySettings, request: Request, weights: dict[str, Weights]) -> Final:
    """Resolve the training of finalists; random weights cannot be fine-tuned."""
    if study.model.mode != "frozen":
        return "study"
    if request.final != "auto":
        return request.final
    return "finetune" if any(item.origin != "random" for item in weights.values()) else "study"


def _all_excluded(candidates: tuple[Candidate, ...]) -> str:
    first = candidates[0]
    others = f", and {len(candidates) - 1} others" if len(candidates) > 1 else ""
    return f"all architectures are excluded: {first.name}: {first.out}{others}"


def _notify(outcome: Outcome, options: Options, root: Path, console: Console) -> None:
    columns, rows = select_text.main_table(outcome)
    if options.output != STANDARD_OUTPUT:
        print_table(
            make_console(stderr=False),
            columns,
            rows,
            f"selection {outcome.selection.name}",
            select_text.DROP_FIRST,
        )
    for line in select_text.sentences(outcome):
        console.print(line)
    winner = outcome.selection.winner
    if winner is not None:
        command = shlex.join(["bench", "predict", "IMAGE", *options.arguments, "--from-select"])
        for line in (f"run of the winner: {root / winner.run}", f"use the winner: {command}"):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    if options.output is None:
        return
    from benchmark.terminal.output_file import write_output

    as_json = options.output.suffix == ".json"
    text = select_text.as_json(outcome) if as_json else select_text.as_markdown(outcome)
    write_output(text, options.output)


def _publish(outcome: Outcome, study: StudySettings, root: Path, console: Console) -> None:
    """Log the selection's table to the MLflow experiment of the finalists."""
    import pandas as pd

    from benchmark.tracking.connection import first_line
    from benchmark.tracking.mlflow_store import MlflowStore

    selection = outcome.selection
    number = len(selection.rungs) - 1
    last = selection.rungs[number]
    named = rung_study(study, selection.final, number, last, selection.image_counts)
    texts = {
        "selection.md": select_text.as_markdown(outcome),
        "selection.json": select_text.as_json(outcome),
    }
    columns, rows = select_text.main_table(outcome)
    try:
        store = MlflowStore(tracking_uri(named), named.study, root)
        store.log_report(texts, pd.DataFrame(rows, columns=list(columns)), [])
    except TrackingError as error:
        console.print(str(error), style="yellow")
    except Exception as error:  # database, network or disk
        console.print(f"cannot log the table to MLflow: {first_line(error)}", style="yellow")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Handle SIGTERM like Ctrl-C before the first run."""
    raise KeyboardInterrupt
