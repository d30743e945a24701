"""Workflow of `bench run`: check inputs, prepare data, plan, run, print the table."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from benchmark.config.study import StudySettings
from benchmark.engine.executors.base import DEFAULT_RESOURCES, Resources
from benchmark.engine.executors.registry import find_executor
from benchmark.engine.probe import cached_probe
from benchmark.engine.scheduler import DEFAULT_POLICY, Policy, StudyOutcome, run_plan
from benchmark.engine.stopping import StopRequest
from benchmark.errors import ReportError, TrackingError
from benchmark.planning.study_plan import folder_writer, plan_study
from benchmark.report.render import describe_protocol
from benchmark.report.write import Report, read_report
from benchmark.runs.listener import Listener
from benchmark.runs.root import open_store, tracking_uri
from benchmark.runs.run_folder import RunFolder, study_folders
from benchmark.runs.spec import RunSpec
from benchmark.terminal.output import TerminalListener, make_console, print_table
from benchmark.terminal.report_view import print_comparison, print_pick
from benchmark.tracking.unchanged import has_logged, remember_logged
from clothclf.data.dataset import DataSet
from clothclf.errors import SettingsError
from clothclf.process import fork_client

if TYPE_CHECKING:
    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.tracker import Tracker


def run_study(
    study: StudySettings,
    requested: Sequence[str] = (),
    policy: Policy = DEFAULT_POLICY,
    dry_run: bool = False,
    executor: str = "local",
    resources: Resources = DEFAULT_RESOURCES,
) -> int:
    """Run the architectures in `requested`, or all of the study; return 0, or 1 if a run failed.

    `executor` is a name from `executors.registry`, and `resources` applies to it. Raises UserError
    for invalid input before the first run starts, and KeyboardInterrupt, with progress saved,
    after Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    module = find_executor(executor)
    processes = module.check_resources(resources, study.device)
    _check_tuning(study, processes)
    console = make_console()
    root = open_store(study)
    if not dry_run and not any(study_folders(root, study.study)):
        fork_client.preload("benchmark.engine.pipeline")  # imports while the data are prepared
    plan, data = plan_study(study, requested, root, console, may_probe=not dry_run)
    _describe(console, plan, data, root)
    if dry_run:
        _print_plan(console, study, plan, root, policy.force)
        return 0

    limits = study.limits
    memory_bytes = None if limits.memory_mib is None else limits.memory_mib * 2**20
    policy = dataclasses.replace(
        policy,
        timeout_s=limits.timeout_s,
        memory_bytes=memory_bytes,
        processes_per_run=processes,
    )

    def warn(text: str) -> None:
        console.print(text, style="yellow")

    opened = module.open_executor(resources, policy.limits(), study.device, warn)
    with opened as (at_work, at_a_time), StopRequest().listening() as stop:
        policy = dataclasses.replace(policy, executor=at_work)
        terminal = TerminalListener(console, len(plan), at_a_time, not at_work.measures_at_once)
        is_done = _is_done(study, plan, root, policy)
        tracker = None if is_done else _open_tracker(study, root, warn)
        listeners: list[Listener] = [terminal] if tracker is None else [terminal, tracker]
        outcome = run_plan(plan, root, folder_writer(study, data), listeners, policy, stop)
        report = _conclude(console, study, outcome)
        if report is not None and tracker is not None:
            try:
                if study.tracking.report:
                    _publish(report, tracker.store, bool(outcome.finished or outcome.failed))
                if tracker.has_logged_all():
                    remember_logged(tracking_uri(study), root, plan, study.tracking.report)
            except TrackingError as error:
                warn(str(error))
    return 1 if outcome.failed or outcome.failed_before else 0


def _is_done(study: StudySettings, plan: Sequence[RunSpec], root: Path, policy: Policy) -> bool:
    """Return whether all runs are finished and, as far as a file can tell, logged to MLflow."""
    if policy.force or not has_logged(tracking_uri(study), root, plan, study.tracking.report):
        return False
    return all(RunFolder.of(root, spec).record() is not None for spec in plan)


def _open_tracker(study: StudySettings, root: Path, warn: Callable[[str], None]) -> Tracker:
    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.tracker import Tracker

    return Tracker(MlflowStore(tracking_uri(study), study.study, root), warn)


def _check_tuning(study: StudySettings, processes: int) -> None:
    """Raise SettingsError if runs of several processes are to be tuned."""
    if study.tuning is not None and processes > 1:
        raise SettingsError(
            "tuning: runs of several processes cannot be tuned; use one process per run "
            "(--processes-per-run 1), or remove tuning"
        )


def _describe(console: Console, plan: Sequence[RunSpec], data: DataSet, root: Path) -> None:
    images = data.summary.images
    console.print(
        f"data: {data.summary.title}: {len(data.summary.classes)} classes, "
        f"{images['train']:,} training, {images['valid']:,} validation, {images['test']:,} test"
    )
    for counts, word in ((data.summary.dropped, "dropped"), (data.summary.repaired, "repaired")):
        for reason, count in counts.items():
            console.print(f"data: {count:,} {word}: {reason}")
    console.print(f"plan: {len(plan)} runs in {root}")


def _publish(report: Report, store: MlflowStore, is_new: bool) -> None:
    from benchmark.workflows.publish import publish, publish_if_missing

    if is_new:
        publish(report, store)
    else:  # an earlier command published it, unless it was killed
        publish_if_missing(report, store)


def _print_plan(
    console: Console, study: StudySettings, plan: Sequence[RunSpec], root: Path, force: bool
) -> None:
    sizes = sorted({spec.image_size for spec in plan})
    name = f"recipe {study.recipe}" if study.recipe else "recipe"
    message = describe_protocol(sizes, study.model, study.train, study.tuning)
    console.print(f"{name}: {message}", markup=False, highlight=False)
    rows, undecided = [], 0
    for spec in plan:
        done = not force and RunFolder.of(root, spec).record() is not None
        run_id = spec.run_id
        if spec.model.precision == "auto" and cached_probe(spec) is None:
            run_id, done, undecided = "-", False, undecided + 1
        rows.append([run_id, spec.name, spec.weights.name, "finished" if done else "to run"])
    columns = ("run", "architecture and seed", "weights", "state")
    print_table(make_console(stderr=False), columns, rows)
    if undecided:
        make_console().print(
            f"model.precision is auto: `bench run` first probes {undecided} of the runs to "
            "determine their precision, which is part of their run_id"
        )


def _conclude(console: Console, study: StudySettings, outcome: StudyOutcome) -> Report | None:
    """Print the table and failures; return the report, or None if there is nothing to report."""
    if not outcome.finished and not outcome.failed and not outcome.failed_before:
        console.print("nothing to train: all runs are already finished")
    failed = len(outcome.failed) + len(outcome.failed_before)
    try:
        report = read_report(study, Path(f"{study.study}.yaml"))
    except ReportError:  # no run was started with these settings
        report = None
    if report is not None:
        newest = report.analyses[0]
        print_comparison(report, newest, make_console(stderr=False))
        print_pick(newest, console)
    if outcome.retried:
        message = f"{len(outcome.retried)} runs were restarted after their node was lost"
        console.print(message)
    num_lost = sum(failure.lost for failure in outcome.failed)
    if failed > num_lost:
        console.print(f"{failed - num_lost} runs failed", style="red")
    if num_lost:
        message = f"{num_lost} runs were lost with their nodes; the next `bench run` retries them"
        console.print(message, style="red")
    return report


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Handle SIGTERM like Ctrl-C before the first run."""
    raise KeyboardInterrupt
