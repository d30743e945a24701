"""`bench run` from a study to an exit code: check, prepare, plan, carry out, show the table."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmark.errors import ReportError, TrackingError
from benchmark.plan import RunSpec, make_plan
from benchmark.report.render import columns, describe_protocol, table_cells
from benchmark.report.write import Report, make_report
from benchmark.runner import run_folder as files
from benchmark.runner.executors.choose import executor_for
from benchmark.runner.executors.cluster import RayOptions, check_reachable
from benchmark.runner.listener import Listener
from benchmark.runner.probe import kept_probe, with_precision
from benchmark.runner.run_folder import RunFolder
from benchmark.runner.schedule import Policy, StudyOutcome, run_plan
from benchmark.selection import Candidate, choose
from benchmark.stopping import StopRequest
from benchmark.store import cache_folder, open_store, tracking_uri
from benchmark.study import StudySettings, to_yaml
from benchmark.teachers import find_teachers, taught_by
from benchmark.terminal.output import (
    TerminalListener,
    make_console,
    prepare_with_progress,
    print_table,
)
from benchmark.weights import weights_of
from clothclf.csv_text import frame_csv
from clothclf.data.atomic import new_file, write_text
from clothclf.data.dataset import DataSet
from clothclf.errors import DataError, SettingsError, UserError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

LEAST_NEEDED = ("weights", "training time", "FLOPs", "macro-F1", "against the best")
"""Columns that go first where a terminal has no room for all."""
MAX_SHRINKING = 3
"""Stored images that many times as large as what a network sees call for a warning."""
MOST_LEFT_OUT = 20
"""Architectures that are told one by one."""


def run_study(
    study: StudySettings,
    asked: Sequence[str],
    policy: Policy,
    dry_run: bool = False,
    ray: RayOptions | None = None,
) -> int:
    """Run `asked` architectures, or all of the study; return 0, or 1 if a run failed.

    They run on this machine or, with `ray`, on a cluster.

    Everything that can be wrong with the input is found before the first run begins (UserError).
    Raises KeyboardInterrupt, with all that was done kept, after Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if ray is not None:
        check_reachable(ray)
    else:
        check_device(study)
    console = make_console()
    root = open_store(study)
    plan, data = plan_study(study, asked, root, console, may_probe=not dry_run)
    _describe(console, plan, data, root)
    if dry_run:
        sizes = sorted({spec.image_size for spec in plan})
        name = f"recipe {study.recipe}" if study.recipe else "recipe"
        told = describe_protocol(sizes, study.model, study.train)
        console.print(f"{name}: {told}", markup=False, highlight=False)
        _print_plan(plan, root, policy.force)
        return 0

    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.publish import publish, publish_unless_there
    from benchmark.tracking.tracker import Tracker

    limits = study.limits
    memory_bytes = None if limits.memory_mib is None else limits.memory_mib * 2**20
    policy = dataclasses.replace(policy, timeout_s=limits.timeout_s, memory_bytes=memory_bytes)

    def warn(text: str) -> None:
        console.print(text, style="yellow")

    choice = executor_for(policy.limits(), policy.workers, study.device, ray, warn)
    with choice as (executor, at_a_time), StopRequest().listening() as stop:
        policy = dataclasses.replace(policy, executor=executor)
        store = MlflowStore(tracking_uri(study), study.study, root)
        listeners: list[Listener] = [
            TerminalListener(console, len(plan), at_a_time, not executor.measures_at_once),
            Tracker(store, warn),
        ]
        outcome = run_plan(plan, root, folder_writer(study, data), listeners, policy, stop)
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


def check_device(study: StudySettings) -> None:
    """Raise DeviceError where this machine lacks the study's device; every run would fail."""
    from clothclf.training.device import choose_device

    choose_device(study.device)


def folder_writer(study: StudySettings, data: DataSet) -> Callable[[RunFolder, RunSpec], None]:
    """What fills a run's folder with all that its process reads."""

    def write(folder: RunFolder, spec: RunSpec) -> None:
        write_text(folder.path / files.CONFIG, to_yaml(study))
        with new_file(folder.path / files.MANIFEST) as unfinished:
            data.manifest.to_parquet(unfinished, index=False)
        write_text(folder.path / files.FINDINGS, frame_csv(data.findings))

    return write


def plan_study(
    study: StudySettings,
    asked: Sequence[str],
    root: Path,
    console: Console,
    may_probe: bool = True,
) -> tuple[list[RunSpec], DataSet]:
    """The runs of `asked` architectures, or of all, and their data; raises UserError.

    The data set's pixels are those of the first run; each run names its own. Without `may_probe` a
    precision that a probe has yet to decide stays open.
    """

    def tell(text: str) -> None:
        console.print(text, style="yellow", markup=False)

    console.print(f"study {study.study}: reading data and architectures")
    cache = cache_folder(root)
    chosen = choose(study, asked, cache, tell)
    _tell_left_out(console, chosen)
    entries = [item.entry for item in chosen if not item.out]
    _check_recipe(study, entries)
    weights = _resolve_weights(study, entries, console)
    _check_weights(entries, weights)
    data, pixels = prepare_sizes(study, entries, console)
    warn_of_shrinking(data, pixels, console)
    teachers = find_teachers(study, data)
    taught = taught_by(study, [teacher.run_id for teacher in teachers])
    plan = make_plan(taught, entries, data.summary, pixels, cache, weights, teachers)
    return [with_precision(spec, tell, may_probe) for spec in plan], data


def _tell_left_out(console: Console, chosen: Sequence[Candidate]) -> None:
    out = [item for item in chosen if item.out]
    if not out:
        return
    console.print(f"architectures: {len(chosen) - len(out)} stay, {len(out)} are left out")
    for item in out[:MOST_LEFT_OUT]:
        told = f"left out: {item.entry.name} at {item.image_size} px: {item.out}"
        console.print(told, markup=False, highlight=False)
    if len(out) > MOST_LEFT_OUT:
        console.print(f"left out: and {len(out) - MOST_LEFT_OUT} more")


def prepare_sizes(
    study: StudySettings, entries: Sequence[ArchitectureSettings], console: Console
) -> tuple[DataSet, dict[int, Path]]:
    """The data, and the file of decoded pictures for each size that a run has."""
    sizes = sorted({entry.image_size for entry in entries if isinstance(entry.image_size, int)})
    found: dict[int, DataSet] = {}
    for size in sizes:
        at_size = study.data.model_copy(update={"image_size": size})
        found[size] = prepare_with_progress(study.model_copy(update={"data": at_size}), console)
    first = found[sizes[0]]
    for size, data in found.items():
        if data.summary != first.summary or not data.manifest.equals(first.manifest):
            raise DataError(
                f"data.path: the pictures at {size} px are others than at {sizes[0]} px; "
                "have they changed meanwhile? Run it again"
            )
    return first, {size: data.pixels for size, data in found.items()}


def warn_of_shrinking(data: DataSet, sizes: Iterable[int], console: Console) -> None:
    """Say that images lose detail at some of the sizes, in pixels, if they shrink a lot."""
    shrunk = [size for size in sorted(sizes) if data.stored_side > MAX_SHRINKING * size]
    if shrunk:
        console.print(
            f"images are stored at {data.stored_side:,} px (median of the shorter side) and "
            f"shrink to {', '.join(map(str, shrunk))} px (data.image_size): detail that tells "
            "classes apart may be lost; data.image_size: native takes each architecture's own size",
            style="yellow",
        )


def _resolve_weights(
    study: StudySettings, entries: Sequence[ArchitectureSettings], console: Console
) -> dict[str, Weights]:
    resolve = weights_of(study)
    weights = {entry.name: resolve(entry) for entry in entries}
    for note in sorted({item.note for item in weights.values() if item.note}):
        console.print(f"weights are random: {note}", style="yellow")
    return weights


def _check_recipe(study: StudySettings, entries: Sequence[ArchitectureSettings]) -> None:
    from clothclf.training.check import check_recipe

    sizes = [(entry.name, entry.image_size) for entry in entries]
    known = [(name, size) for name, size in sizes if isinstance(size, int)]
    smallest = min(size for _, size in known)
    if study.train.augment.crop_padding >= smallest:
        raise SettingsError(
            f"train.augment.crop_padding: must be below data.image_size ({smallest})"
        )
    check_recipe(study.train, study.model, known)


def _check_weights(entries: Sequence[ArchitectureSettings], weights: dict[str, Weights]) -> None:
    """Load files of weights into every architecture; tell all faults."""
    from clothclf.models.check import check_weights

    faults = []
    for entry in entries:
        if not isinstance(entry.image_size, int):
            continue
        try:
            check_weights(entry.name, entry.image_size, weights[entry.name])
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
    rows, undecided = [], 0
    for spec in plan:
        done = not force and RunFolder.of(root, spec).record() is not None
        run_id = spec.run_id
        if spec.model.precision == "auto" and kept_probe(spec) is None:
            run_id, done, undecided = "-", False, undecided + 1
        rows.append([run_id, spec.name, spec.weights.name, "finished" if done else "to run"])
    columns = ("run", "architecture and seed", "weights", "state")
    print_table(make_console(stderr=False), columns, rows)
    if undecided:
        make_console().print(
            f"model.precision is auto: `bench run` probes {undecided} of the runs before they "
            "begin, which decides their precision, and with it their run_id"
        )


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
        print_table(
            make_console(stderr=False), columns(newest), table_cells(newest), title, LEAST_NEEDED
        )
        if newest.pick is not None:
            console.print(newest.pick.sentence)
    if outcome.retried:
        told = f"{len(outcome.retried)} of the runs were begun again after their node was lost"
        console.print(told)
    lost = sum(failure.lost for failure in outcome.failed)
    if failed > lost:
        console.print(f"{failed - lost} of the runs failed", style="red")
    if lost:
        told = f"{lost} of the runs were lost with their nodes; the next `bench run` tries again"
        console.print(told, style="red")
    return report


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Before the first run SIGTERM is taken as Ctrl-C."""
    raise KeyboardInterrupt
