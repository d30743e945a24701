"""Carry out a rung: a plain study's runs, logged and kept like any other's."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmark.plan import RunSpec, make_plan
from benchmark.record import Failure, RunRecord
from benchmark.runner.events import Event
from benchmark.runner.listener import Listener
from benchmark.runner.probe import with_precision
from benchmark.runner.run_folder import RunFolder
from benchmark.runner.schedule import Policy, run_plan
from benchmark.runner.study_run import folder_writer, prepare_sizes
from benchmark.select.selection import Entrant, Spent, read_spent, write_spent
from benchmark.stopping import StopRequest
from benchmark.store import cache_folder, tracking_uri
from benchmark.study import StudySettings
from benchmark.terminal.output import TerminalListener
from clothclf.data.dataset import DataSet
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

SELECTION_TAG = "bench.selection"
RUNG_TAG = "bench.rung"
KEPT_EVERY_S = 5.0


@dataclass(frozen=True)
class Ground:
    """What all rungs of a selection share."""

    root: Path
    """The tracking folder."""
    name: str
    """The selection's."""
    console: Console
    policy: Policy
    stop: StopRequest
    weights: dict[str, Weights]


@dataclass
class RungRuns:
    """How the runs of a rung ended, by entrant."""

    valid_images: int
    records: dict[str, list[RunRecord]] = field(default_factory=dict)
    """By seed."""
    failures: dict[str, str] = field(default_factory=dict)
    """Stage and reason."""

    def accuracy(self, name: str, probe: bool = False) -> float:
        """Of the validation pictures, mean over seeds.

        A probe's is that of its last epoch, when the rate has come down to zero; its loss grows
        long before while accuracy still does, and the epoch of least loss orders architectures
        worse (docs/selecting.md). What is trained in earnest is judged as it is kept.
        """
        trainings = [record.training for record in self.records[name]]
        epochs = [item.epochs[-1] if probe else item.best for item in trainings]
        return sum(epoch.valid_accuracy for epoch in epochs) / len(epochs)


def carry_out(
    ground: Ground,
    rung: str,
    study: StudySettings,
    entrants: Sequence[Entrant],
    count: bool,
) -> RungRuns:
    """Run entrants by a rung's study; what is finished is not run again.

    `rung` is its label. Raises KeyboardInterrupt, with all that was done kept, after Ctrl-C.
    """
    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.tracker import Tracker

    console = ground.console
    plan, data = _plan(ground, rung, study, entrants, count)
    limits = study.limits
    memory_bytes = None if limits.memory_mib is None else limits.memory_mib * 2**20
    policy = dataclasses.replace(
        ground.policy, timeout_s=limits.timeout_s, memory_bytes=memory_bytes
    )
    listeners: list[Listener] = [
        TerminalListener(console, len(plan), policy.workers),
        Tracker(
            MlflowStore(tracking_uri(study), study.study, ground.root),
            lambda text: console.print(text, style="yellow"),
        ),
        _Spending(ground.root, ground.name, rung),
    ]
    prepare = folder_writer(study, data)
    outcome = run_plan(plan, ground.root, prepare, listeners, policy, ground.stop)
    return _by_entrant(
        {_key(entrant.architecture): entrant.name for entrant in entrants},
        [*outcome.skipped, *outcome.finished],
        [*outcome.failed, *outcome.failed_before],
        data.summary.images["valid"],
    )


def _plan(
    ground: Ground, rung: str, study: StudySettings, entrants: Sequence[Entrant], count: bool
) -> tuple[list[RunSpec], DataSet]:
    entries = [entrant.architecture for entrant in entrants]
    data, pixels = prepare_sizes(study, entries, ground.console)
    cache = cache_folder(ground.root)
    plan = make_plan(study, entries, data.summary, pixels, cache, ground.weights)
    tags = {SELECTION_TAG: ground.name, RUNG_TAG: rung}

    def tell(text: str) -> None:
        ground.console.print(text, style="yellow")

    specs = [
        with_precision(spec, tell).model_copy(update={"tags": tags, "count": count})
        for spec in plan
    ]
    return specs, data


def _key(item: ArchitectureSettings | RunSpec) -> tuple[str, object]:
    """What tells entrants apart."""
    name = item.name if isinstance(item, ArchitectureSettings) else item.architecture
    return name, item.image_size


def _by_entrant(
    names: Mapping[tuple[str, object], str],
    records: Sequence[RunRecord],
    failures: Sequence[Failure],
    valid_images: int,
) -> RungRuns:
    runs = RungRuns(valid_images)
    for failure in failures:
        runs.failures[names[_key(failure.spec)]] = f"{failure.stage}: {failure.reason}"
    for record in sorted(records, key=lambda record: record.spec.seed):
        name = names[_key(record.spec)]
        # With a seed that failed, the others' mean would be of other seeds than the rest.
        if name not in runs.failures:
            runs.records.setdefault(name, []).append(record)
    return runs


class _Spending:
    """A listener that keeps how long a rung has taken, for people."""

    def __init__(self, root: Path, name: str, rung: str) -> None:
        self._root = root
        self._name = name
        self._rung = rung
        self._since = time.monotonic()

    @contextlib.contextmanager
    def on_study(self, plan: Sequence[RunSpec]) -> Iterator[None]:
        """From the first run to the last."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._keep()

    def on_tick(self) -> None:
        """Now and then, for what a kill would lose."""
        if time.monotonic() - self._since >= KEPT_EVERY_S:
            self._keep()

    def _keep(self) -> None:
        now = time.monotonic()
        seconds = dict(read_spent(self._root, self._name).seconds)
        seconds[self._rung] = seconds.get(self._rung, 0.0) + now - self._since
        self._since = now
        with contextlib.suppress(OSError):  # a full disk stops runs, not this
            write_spent(self._root, self._name, Spent(seconds=seconds))

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
