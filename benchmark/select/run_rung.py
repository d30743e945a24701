"""Run a rung as ordinary runs of its study."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmark.config.study import StudySettings
from benchmark.engine.probe import with_precision
from benchmark.engine.scheduler import Policy, run_plan
from benchmark.engine.stopping import StopRequest
from benchmark.planning.study_plan import folder_writer, prepare_sizes
from benchmark.runs.events import Event
from benchmark.runs.listener import Listener
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.root import cache_folder, tracking_uri
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec, make_plan
from benchmark.select.clock import Clock
from benchmark.select.selection_state import Candidate
from benchmark.terminal.output import TerminalListener
from clothclf.data.dataset import DataSet
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

SELECTION_TAG = "bench.selection"
RUNG_TAG = "bench.rung"
CORES_EACH = 4
"""CPU cores for each concurrent run that trains a whole network."""


@dataclass(frozen=True)
class SelectionContext:
    """Context shared by all rungs of a selection."""

    root: Path
    """Tracking folder."""
    name: str
    """Name of the selection."""
    console: Console
    policy: Policy
    stop: StopRequest
    weights: dict[str, Weights]
    clock: Clock
    """Clock of the selection, stopped if it is complete."""


@dataclass
class RungRuns:
    """Results of a rung's runs, by candidate."""

    valid_images: int
    records: dict[str, list[RunRecord]] = field(default_factory=dict)
    """Records of finished candidates, sorted by seed."""
    failures: dict[str, str] = field(default_factory=dict)
    """Stage and reason of failed candidates."""
    stopped: tuple[str, ...] = ()
    """Candidates that were stopped by the time limit."""

    def run(self, name: str) -> RunRecord:
        """Run of the seed with the highest validation accuracy, the first one on a tie."""
        return max(self.records[name], key=lambda record: record.training.best.valid_accuracy)

    def accuracy(self, name: str, probe: bool = False) -> float:
        """Validation accuracy, mean over seeds.

        Probes use the last epoch, where the learning rate has decayed to zero. Their loss rises
        early while accuracy still improves, so the epoch with the lowest loss ranks architectures
        worse (docs/selecting.md). Other runs use the best epoch.
        """
        trainings = [record.training for record in self.records[name]]
        epochs = [item.epochs[-1] if probe else item.best for item in trainings]
        return sum(epoch.valid_accuracy for epoch in epochs) / len(epochs)


def run(
    context: SelectionContext,
    rung: str,
    study: StudySettings,
    candidates: Sequence[Candidate],
    probe: bool = False,
    until: float | None = None,
    finish_one: bool = False,
) -> RungRuns:
    """Run candidates with a rung's study; finished runs are not repeated.

    `rung` is the rung's label. A `probe` skips cost counting and the test split. Unfinished runs
    are stopped at `until`, in `time.monotonic` seconds, except that `finish_one` finishes one.
    Raises KeyboardInterrupt on Ctrl-C, with all progress saved.
    """
    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.tracker import Tracker

    console = context.console
    plan, data = plan_rung(context, rung, study, candidates, probe)
    limits = study.limits
    memory_bytes = None if limits.memory_mib is None else limits.memory_mib * 2**20
    policy = dataclasses.replace(
        context.policy,
        workers=at_a_time(context.policy.workers, study),
        timeout_s=limits.timeout_s,
        memory_bytes=memory_bytes,
        until=until,
        finish_one=finish_one,
    )
    listeners: list[Listener] = [
        TerminalListener(console, len(plan), policy.workers),
        Tracker(
            MlflowStore(tracking_uri(study), study.study, context.root),
            lambda text: console.print(text, style="yellow"),
        ),
        _Ticking(context.clock),
    ]
    prepare = folder_writer(study, data)
    outcome = run_plan(plan, context.root, prepare, listeners, policy, context.stop)
    return _by_candidate(
        {_key(candidate.architecture): candidate.name for candidate in candidates},
        [*outcome.skipped, *outcome.finished],
        [*outcome.failed, *outcome.failed_before],
        data.summary.images["valid"],
        len(study.seeds),
    )


def at_a_time(workers: int, study: StudySettings) -> int:
    """Number of concurrent runs; a whole network needs at least CORES_EACH cores."""
    if study.model.mode == "frozen":
        return workers
    return max(1, min(workers, (os.cpu_count() or 1) // CORES_EACH))


def plan_rung(
    context: SelectionContext,
    rung: str,
    study: StudySettings,
    candidates: Sequence[Candidate],
    probe: bool,
) -> tuple[list[RunSpec], DataSet]:
    """Plan the runs of a rung; returns them and their data."""
    entries = [candidate.architecture for candidate in candidates]
    data, pixels = prepare_sizes(study, entries, context.console)
    cache = cache_folder(context.root)
    plan = make_plan(study, entries, data.summary, pixels, cache, context.weights)
    tags = {SELECTION_TAG: context.name, RUNG_TAG: rung}

    def notify(text: str) -> None:
        context.console.print(text, style="yellow")

    changes: dict[str, object] = {"tags": tags}
    if probe:
        changes |= {"count": False, "evaluate": "valid"}
    return [with_precision(spec, notify).model_copy(update=changes) for spec in plan], data


def _key(item: ArchitectureSettings | RunSpec) -> tuple[str, object]:
    """Key that identifies a candidate."""
    name = item.name if isinstance(item, ArchitectureSettings) else item.architecture
    return name, item.image_size


def _by_candidate(
    names: Mapping[tuple[str, object], str],
    records: Sequence[RunRecord],
    failures: Sequence[Failure],
    valid_images: int,
    seeds: int,
) -> RungRuns:
    runs = RungRuns(valid_images)
    for failure in failures:
        runs.failures[names[_key(failure.spec)]] = f"{failure.stage}: {failure.reason}"
    for record in sorted(records, key=lambda record: record.spec.seed):
        name = names[_key(record.spec)]
        # If one seed failed, the mean of the others is not comparable.
        if name not in runs.failures:
            runs.records.setdefault(name, []).append(record)
    for name in [name for name, own_records in runs.records.items() if len(own_records) < seeds]:
        del runs.records[name]
    known = runs.records.keys() | runs.failures.keys()
    runs.stopped = tuple(name for name in names.values() if name not in known)
    return runs


class _Ticking:
    """Listener that saves the clock's time while runs are in progress."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_tick(self) -> None:
        """Save the time regularly, in case the process is killed."""
        self._clock.tick()

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Do nothing; no time is spent."""

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Do nothing; no time is spent."""

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Do nothing; the other process counts the time, too."""

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """Do nothing; the clock is running."""

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """Do nothing; the clock is running."""

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Do nothing; the clock is running."""

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """Do nothing; the clock is running."""

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Do nothing; the clock is running."""
