"""Carry out a rung: a plain study's runs, logged and kept like any other's."""

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
from benchmark.runs.folder import RunFolder
from benchmark.runs.listener import Listener
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.root import cache_folder, tracking_uri
from benchmark.runs.spec import RunSpec, make_plan
from benchmark.select.clock import Clock
from benchmark.select.selection import Candidate
from benchmark.terminal.output import TerminalListener
from clothclf.data.dataset import DataSet
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

SELECTION_TAG = "bench.selection"
RUNG_TAG = "bench.rung"
CORES_EACH = 4
"""Of runs side by side that train whole networks."""


@dataclass(frozen=True)
class SelectionContext:
    """What all rungs of a selection share."""

    root: Path
    """The tracking folder."""
    name: str
    """The selection's."""
    console: Console
    policy: Policy
    stop: StopRequest
    weights: dict[str, Weights]
    clock: Clock
    """Stopped where nothing is left to do."""


@dataclass
class RungRuns:
    """How the runs of a rung ended, by entrant."""

    valid_images: int
    records: dict[str, list[RunRecord]] = field(default_factory=dict)
    """By seed."""
    failures: dict[str, str] = field(default_factory=dict)
    """Stage and reason."""
    stopped: tuple[str, ...] = ()
    """Neither finished nor failed when the time was up."""

    def run(self, name: str) -> RunRecord:
        """The run of the seed with the highest validation accuracy, the first of several."""
        return max(self.records[name], key=lambda record: record.training.best.valid_accuracy)

    def accuracy(self, name: str, probe: bool = False) -> float:
        """Of the validation images, mean over seeds.

        A probe's is that of its last epoch, when the rate has come down to zero; its loss grows
        long before while accuracy still does, and the epoch of least loss orders architectures
        worse (docs/selecting.md). What is trained in earnest is judged as it is kept.
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
    one_at_least: bool = False,
) -> RungRuns:
    """Run entrants by a rung's study; what is finished is not run again.

    `rung` is its label. A `probe` counts nothing and leaves the test split alone. What is
    unfinished at `until`, a moment of `time.monotonic`, is stopped, but `one_at_least` is finished.
    Raises KeyboardInterrupt, with all that was done kept, after Ctrl-C.
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
        one_at_least=one_at_least,
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
    """How many runs: whole networks share no two or three cores, which one keeps busy alone."""
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
    """The runs of a rung, and their data."""
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
    """What tells entrants apart."""
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
        # With a seed that failed, the others' mean would be of other seeds than the rest.
        if name not in runs.failures:
            runs.records.setdefault(name, []).append(record)
    for name in [name for name, found in runs.records.items() if len(found) < seeds]:
        del runs.records[name]
    known = runs.records.keys() | runs.failures.keys()
    runs.stopped = tuple(name for name in names.values() if name not in known)
    return runs


class _Ticking:
    """A listener that keeps the clock's time meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_tick(self) -> None:
        """Now and then, for what a kill would lose."""
        self._clock.tick()

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Nothing is spent."""

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Nothing is spent."""

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """The other process counts it, too."""

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """The clock is running."""

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """The clock is running."""

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """The clock is running."""

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """The clock is running."""

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """The clock is running."""
