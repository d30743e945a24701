"""Track the progress of each run of a study from its events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmark.runs import events
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec
from clothclf.results import EpochResult

Kind = tuple[str, "int | None"]
"""Architecture and hidden width of the head: runs of one kind take about the same time."""
AFTER_TRAINING = ("evaluate", "save", "measure")


def kind_of(spec: RunSpec) -> Kind:
    """Kind of a run, independent of its seed."""
    return spec.architecture, spec.head.hidden


@dataclass
class RunProgress:
    """One running run; times are in seconds of the study's clock."""

    spec: RunSpec
    started_s: float
    measuring: bool = False
    """Whether the run was restarted at the end of the study only to be measured."""
    doing: str = "start"
    """Current stage, `features`, `trial 2/9`, or `epoch 3/10`."""
    share: float | None = None
    """Progress of the feature pass, of a trial, or of all training steps, 0 to 1."""
    epoch: EpochResult | None = None
    """Result of the latest epoch."""
    cached_features: bool = False
    """Whether only a head is trained, whose speed is not that of the network."""
    trained_s: float | None = None
    """Time at which training ended."""
    epochs_done: int = 0
    first: tuple[float, float] | None = None
    """Time and share at the first event of the current work."""
    latest: tuple[float, float] | None = None

    def update(self, event: events.Event, now_s: float) -> None:
        """Update from an event."""
        if isinstance(event, events.StageStarted):
            self.doing, self.share, self.first, self.latest = event.stage, None, None, None
            if event.stage in AFTER_TRAINING and self.trained_s is None:
                self.trained_s = now_s
        elif isinstance(event, events.Resumed):
            self.epochs_done = event.epochs
        elif isinstance(event, events.EpochDone):
            self.epoch, self.cached_features = event.result, event.cached_features
            self.epochs_done = event.result.epoch
            self._set_share(now_s, event.result.epoch / event.epochs)
        elif isinstance(event, events.Progress):
            share = event.done / max(1, event.total)
            is_epoch = event.doing.startswith("epoch ")
            continues = is_epoch and self.doing.startswith("epoch ")
            if event.doing != self.doing and not continues:
                self.first = self.latest = None
            self.doing = event.doing
            if is_epoch:
                share = (self.epochs_done + share) / self.spec.train.epochs
            self._set_share(now_s, share)

    def doing_text(self) -> str:
        """Current work with its progress: `features, 38 %`, `epoch 3/10, 24 % of training`."""
        if self.share is None:
            return self.doing
        of = " of training" if self.doing.startswith("epoch ") else ""
        return f"{self.doing}, {math.floor(100 * self.share)} %{of}"

    def _set_share(self, now_s: float, share: float) -> None:
        self.share = min(1.0, share)
        self.first = self.first or (now_s, self.share)
        self.latest = (now_s, self.share)


@dataclass
class Evidence:
    """Durations of finished runs in seconds; the latest run of each kind counts.

    The first run of a kind may have computed features that later runs read from the cache.
    """

    whole: dict[Kind, float] = field(default_factory=dict)
    """Total time; without measuring if that is done separately."""
    after_training: dict[Kind, float] = field(default_factory=dict)
    measuring: list[float] = field(default_factory=list)
    """Times of runs that were restarted only to be measured."""


class StudyProgress:
    """State of the runs of a plan by name: waiting, running, deferred or done."""

    def __init__(
        self,
        runs: int,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        measured_apart: bool | None = None,
    ) -> None:
        """Create the progress of a plan of `runs` runs with `workers` concurrent runs.

        `measured_apart` defers measuring to the end of the study, the default with several
        workers.
        """
        self.runs = runs
        self.workers = workers
        self.measured_apart = workers > 1 if measured_apart is None else measured_apart
        self.clock = clock
        self.started_s = clock()
        self.done = 0
        """Runs finished now or earlier."""
        self.failed = 0
        self.waiting: dict[str, RunSpec] = {}
        self.waits_for = ("", "")
        """Name of the next run, and what it waits for."""
        self.running: dict[str, RunProgress] = {}
        self.elsewhere: dict[str, RunSpec] = {}
        self.unmeasured: dict[str, RunSpec] = {}
        self.evidence = Evidence()

    def start_plan(self, plan: Sequence[RunSpec]) -> None:
        """Mark all runs as waiting."""
        self.started_s = self.clock()
        self.runs = len(plan)
        self.waiting = {spec.name: spec for spec in plan}

    def started(self, spec: RunSpec) -> None:
        """Mark a run as running."""
        measuring = self.unmeasured.pop(spec.name, None) is not None
        self._remove(spec)
        self.running[spec.name] = RunProgress(spec, self.clock(), measuring)

    def update(self, spec: RunSpec, event: events.Event) -> None:
        """Update a run from an event of its process, or of the scheduler."""
        if isinstance(event, events.Waiting):
            self.waits_for = (spec.name, event.reason)
            return
        run = self.running.get(spec.name)
        if run is None:
            return
        if isinstance(event, events.Unmeasured):
            self.evidence.whole[kind_of(spec)] = self.clock() - run.started_s
            self._remove(spec)
            self.unmeasured[spec.name] = spec
        else:
            run.update(event, self.clock())

    def put_elsewhere(self, spec: RunSpec) -> None:
        """Mark a run as held by another process."""
        self._remove(spec)
        self.elsewhere[spec.name] = spec

    def finished(self, record: RunRecord) -> None:
        """Mark a run as finished, now or earlier."""
        spec, stages = record.spec, record.stage_seconds
        run = self.running.get(spec.name)
        # For a resumed run, only the stages hold the total time.
        wall_s = 0.0 if run is None else self.clock() - run.started_s
        if run is not None and run.measuring:
            self.evidence.measuring.append(wall_s)
        else:
            apart = "measure" if self.measured_apart else ""
            stage_s = {name: seconds for name, seconds in stages.items() if name != apart}
            self.evidence.whole[kind_of(spec)] = max(wall_s, sum(stage_s.values()))
            self.evidence.after_training[kind_of(spec)] = sum(
                stage_s.get(name, 0.0) for name in AFTER_TRAINING
            )
        self.done += 1
        self._remove(spec)

    def gave_up(self, spec: RunSpec) -> None:
        """Mark a run as failed, now or earlier."""
        self.failed += 1
        self._remove(spec)

    def stopped(self, spec: RunSpec) -> None:
        """Mark a run as interrupted."""
        self._remove(spec)

    def _remove(self, spec: RunSpec) -> None:
        for index in (self.waiting, self.running, self.elsewhere, self.unmeasured):
            index.pop(spec.name, None)
