"""`bench run` from a study to an exit code: check, prepare, plan, carry out, show the table."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmark.errors import ReportError, TrackingError
from benchmark.plan import RunSpec, choose_architectures, make_plan
from benchmark.report.render import COLUMNS, table_cells
from benchmark.report.write import Report, make_report
from benchmark.runner import run_folder as files
from benchmark.runner.probe import with_precision
from benchmark.runner.run_folder import RunFolder
from benchmark.runner.schedule import Listener, Policy, StudyOutcome, run_plan
from benchmark.stopping import StopRequest
from benchmark.store import cache_folder, open_store, tracking_uri
from benchmark.study import StudySettings, to_yaml
from benchmark.terminal.output import (
    TerminalListener,
    make_console,
    prepare_with_progress,
    print_table,
)
from clothclf.data.atomic import new_file, write_text
from clothclf.data.dataset import DataSet
from clothclf.errors import SettingsError, UserError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

LEAST_NEEDED = ("weights", "training time", "FLOPs", "macro-F1", "against the best")
"""Columns that go first where a terminal has no room for all."""


def run_study(
    study: StudySettings, asked: Sequence[str], policy: Policy, dry_run: bool = False
) -> int:
    """Run `asked` architectures, or all of the study; return 0, or 1 if a run failed.

    Everything that can be wrong with the input is found before the first run begins (UserError).
    Raises KeyboardInterrupt, with all that was done kept, after Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    console = make_console()
    root = open_store(study)
    plan, data = plan_study(study, asked, root, console)
    _describe(console, plan, data, root)
    if dry_run:
        _print_plan(plan, root, policy.force)
        return 0

    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.publish import publish, publish_unless_there
    from benchmark.tracking.tracker import Tracker

    def prepare_folder(folder: RunFolder, spec: RunSpec) -> None:
        write_text(folder.path / files.CONFIG, to_yaml(study))
        with new_file(folder.path / files.MANIFEST) as unfinished:
            data.manifest.to_parquet(unfinished, index=False)
        write_text(folder.path / files.FINDINGS, data.findings.to_csv(index=False))

    limits = study.limits
    memory_bytes = None if limits.memory_mib is None else limits.memory_mib * 2**20
    policy = dataclasses.replace(policy, timeout_s=limits.timeout_s, memory_bytes=memory_bytes)
    with StopRequest().listening() as stop:
        store = MlflowStore(tracking_uri(study), study.study, root)
        listeners: list[Listener] = [
            TerminalListener(console, len(plan), policy.workers),
            Tracker(store, lambda text: console.print(text, style="yellow")),
        ]
        outcome = run_plan(plan, root, prepare_folder, listeners, policy, stop)
        report = _conclude(console, study, outcome)
        if report is not None:
            try:
                if outcome.finished or outcome.failed:
                    publish(report, store)
                else:  # that of an earlier command, unless it was killed on the way
                    publish_unless_there(report, store)
            except TrackingError as error:
                console.print(str(error), style="yellow")
    return 1 if outcome.failed or outcome.failed_before else 0


def plan_study(
    study: StudySettings, asked: Sequence[str], root: Path, console: Console
) -> tuple[list[RunSpec], DataSet]:
    """The runs of `asked` architectures, or of all, and their data; raises UserError."""
    console.print(f"study {study.study}: reading data and architectures")
    data = prepare_with_progress(study, console)
    entries = expand(choose_architectures(study, asked))
    weights = _resolve_weights(study, entries, console)
    _check(study, entries, weights)
    plan = make_plan(study, entries, data.summary, data.pixels, cache_folder(root), weights)

    def tell(text: str) -> None:
        console.print(text, style="yellow", markup=False)

    return [with_precision(spec, tell) for spec in plan], data


def expand(entries: Sequence[ArchitectureSettings]) -> list[ArchitectureSettings]:
    """Replace wildcards by names; a name that stands there in full keeps its own head."""
    from clothclf.models.architectures import expand_names, is_wildcard

    named = {entry.name: entry for entry in entries if not is_wildcard(entry.name)}
    expanded: dict[str, ArchitectureSettings] = {}
    for entry in entries:
        for name in expand_names([entry.name]):
            own = ArchitectureSettings(name=name, head=entry.head)
            expanded.setdefault(name, named.get(name, own))
    return list(expanded.values())


def _resolve_weights(
    study: StudySettings, entries: Sequence[ArchitectureSettings], console: Console
) -> dict[str, Weights]:
    from clothclf.models.weights import WeightsResolver

    setting = "none" if study.model.mode == "scratch" else study.model.weights
    resolver = WeightsResolver(setting)
    weights = {entry.name: resolver.resolve(entry.name) for entry in entries}
    for note in sorted({item.note for item in weights.values() if item.note}):
        console.print(f"weights are random: {note}", style="yellow")
    return weights


def _check(
    study: StudySettings, entries: Sequence[ArchitectureSettings], weights: dict[str, Weights]
) -> None:
    """Build every architecture on no memory at all, and load files of weights; tell all faults."""
    from clothclf.models.check import check_architecture, check_weights

    size = study.data.image_size
    if study.train.augment.crop_padding >= size:
        raise SettingsError(f"train.augment.crop_padding: must be below data.image_size ({size})")
    faults = []
    for entry in entries:
        try:
            check_architecture(entry.name, size)
            check_weights(entry.name, size, weights[entry.name])
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))


def _describe(console: Console, plan: Sequence[RunSpec], data: DataSet, root: Path) -> None:
    images = data.summary.images
    console.print(
        f"data: {data.summary.title}: {len(data.summary.classes)} classes, "
        f"{images['train']:,} training, {images['valid']:,} validation, {images['test']:,} test"
    )
    for counts, word in ((data.summary.dropped, "dropped"), (data.summary.repaired, "repaired")):
        for reason, count in counts.items():
            console.print(f"data: {count:,} {word}: {reason}")
    console.print(f"plan: {len(plan)} runs, kept in {root}")


def _print_plan(plan: Sequence[RunSpec], root: Path, force: bool) -> None:
    rows = []
    for spec in plan:
        done = not force and RunFolder.of(root, spec).record() is not None
        rows.append([spec.run_id, spec.name, spec.weights.name, "finished" if done else "to run"])
    columns = ("run", "architecture and seed", "weights", "state")
    print_table(make_console(stderr=False), columns, rows)


def _conclude(console: Console, study: StudySettings, outcome: StudyOutcome) -> Report | None:
    """Print the table and what failed; return the report, unless there is nothing to report."""
    if not outcome.finished and not outcome.failed and not outcome.failed_before:
        console.print("nothing to train: every run was finished before")
    failed = len(outcome.failed) + len(outcome.failed_before)
    try:
        report = make_report(study, Path(f"{study.study}.yaml"))
    except ReportError:  # every run began under other settings, or could not even begin
        report = None
    if report is not None:
        newest = report.analyses[0]
        title = f"{study.study}, on {newest.comparison.specs[0].data_summary.title}"
        print_table(make_console(stderr=False), COLUMNS, table_cells(newest), title, LEAST_NEEDED)
        if newest.pick is not None:
            console.print(newest.pick.sentence)
    if failed:
        console.print(f"{failed} of the runs failed", style="red")
    return report


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Before the first run SIGTERM is taken as Ctrl-C."""
    raise KeyboardInterrupt
