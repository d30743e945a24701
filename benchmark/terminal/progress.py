"""How far each run of a study has come, by what is heard of it."""

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
"""What runs must share to take about as long: the architecture, and its head's hidden layer."""
AFTER_TRAINING = ("evaluate", "save", "measure")


def kind_of(spec: RunSpec) -> Kind:
    """The kind of a run; its seed is left out."""
    return spec.architecture, spec.head.hidden


@dataclass
class RunProgress:
    """One run that goes on; times are seconds of the study's clock."""

    spec: RunSpec
    began_s: float
    measuring: bool = False
    """Begun again at the end of the study, only to be measured."""
    doing: str = "start"
    """A stage, `features`, or `epoch 3/10`."""
    share: float | None = None
    """Of the images whose features are made, or of all steps of all epochs: 0 to 1."""
    epoch: EpochResult | None = None
    """The latest."""
    cached_features: bool = False
    """Whether a head alone is trained: its speed is not the network's."""
    trained_s: float | None = None
    """When training was over."""
    epochs_done: int = 0
    first: tuple[float, float] | None = None
    """Time and share when the present work was first heard of."""
    latest: tuple[float, float] | None = None

    def hear(self, event: events.Event, now_s: float) -> None:
        """Move on."""
        if isinstance(event, events.StageStarted):
            self.doing, self.share, self.first, self.latest = event.stage, None, None, None
            if event.stage in AFTER_TRAINING and self.trained_s is None:
                self.trained_s = now_s
        elif isinstance(event, events.Resumed):
            self.epochs_done = event.epochs
        elif isinstance(event, events.EpochDone):
            self.epoch, self.cached_features = event.result, event.cached_features
            self.epochs_done = event.result.epoch
            self._come_to(now_s, event.result.epoch / event.epochs)
        elif isinstance(event, events.Progress):
            share = event.done / max(1, event.total)
            is_epoch = event.doing.startswith("epoch ")
            if is_epoch != self.doing.startswith("epoch "):
                self.first = self.latest = None
            self.doing = event.doing
            if is_epoch:
                share = (self.epochs_done + share) / self.spec.train.epochs
            self._come_to(now_s, share)

    def doing_text(self) -> str:
        """What it is doing and how far it is: `features, 38 %`, `epoch 3/10, 24 % of training`."""
        if self.share is None:
            return self.doing
        of = " of training" if self.doing.startswith("epoch ") else ""
        return f"{self.doing}, {math.floor(100 * self.share)} %{of}"

    def _come_to(self, now_s: float, share: float) -> None:
        self.share = min(1.0, share)
        self.first = self.first or (now_s, self.share)
        self.latest = (now_s, self.share)


@dataclass
class Evidence:
    """What finished runs of the study took, in seconds; of each kind its latest run tells.

    The first of a kind may have computed features that the others find.
    """

    whole: dict[Kind, float] = field(default_factory=dict)
    """From beginning to end; without measuring where that is done apart."""
    after_training: dict[Kind, float] = field(default_factory=dict)
    measuring: list[float] = field(default_factory=list)
    """Runs that were begun again only to be measured."""


class StudyProgress:
    """The runs of a plan: waiting, going on, put off until the end, done. Names are their keys."""

    def __init__(
        self,
        runs: int,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        measured_apart: bool | None = None,
    ) -> None:
        """`runs` is the length of the plan, `workers` how many go on at a time.

        `measured_apart` says that measuring is left for the end, as several workers do.
        """
        self.runs = runs
        self.workers = workers
        self.measured_apart = workers > 1 if measured_apart is None else measured_apart
        self.clock = clock
        self.began_s = clock()
        self.done = 0
        """Finished now or before."""
        self.failed = 0
        self.waiting: dict[str, RunSpec] = {}
        self.running: dict[str, RunProgress] = {}
        self.elsewhere: dict[str, RunSpec] = {}
        self.unmeasured: dict[str, RunSpec] = {}
        self.evidence = Evidence()

    def begin(self, plan: Sequence[RunSpec]) -> None:
        """All runs are waiting."""
        self.began_s = self.clock()
        self.runs = len(plan)
        self.waiting = {spec.name: spec for spec in plan}

    def started(self, spec: RunSpec) -> None:
        """The run goes on from now."""
        measuring = self.unmeasured.pop(spec.name, None) is not None
        self._take_out(spec)
        self.running[spec.name] = RunProgress(spec, self.clock(), measuring)

    def hear(self, spec: RunSpec, event: events.Event) -> None:
        """What the process of a run says."""
        run = self.running.get(spec.name)
        if run is None:
            return
        if isinstance(event, events.Unmeasured):
            self.evidence.whole[kind_of(spec)] = self.clock() - run.began_s
            self._take_out(spec)
            self.unmeasured[spec.name] = spec
        else:
            run.hear(event, self.clock())

    def put_elsewhere(self, spec: RunSpec) -> None:
        """Another process has it."""
        self._take_out(spec)
        self.elsewhere[spec.name] = spec

    def finished(self, record: RunRecord) -> None:
        """The run has its record, now or since long ago."""
        spec, stages = record.spec, record.stage_seconds
        run = self.running.get(spec.name)
        # Of a run that went on, only the stages tell how long it took in all.
        wall_s = 0.0 if run is None else self.clock() - run.began_s
        if run is not None and run.measuring:
            self.evidence.measuring.append(wall_s)
        else:
            apart = "measure" if self.measured_apart else ""
            told_s = {name: seconds for name, seconds in stages.items() if name != apart}
            self.evidence.whole[kind_of(spec)] = max(wall_s, sum(told_s.values()))
            self.evidence.after_training[kind_of(spec)] = sum(
                told_s.get(name, 0.0) for name in AFTER_TRAINING
            )
        self.done += 1
        self._take_out(spec)

    def gave_up(self, spec: RunSpec) -> None:
        """The run has failed, now or before."""
        self.failed += 1
        self._take_out(spec)

    def stopped(self, spec: RunSpec) -> None:
        """The run was interrupted."""
        self._take_out(spec)

    def _take_out(self, spec: RunSpec) -> None:
        for place in (self.waiting, self.running, self.elsewhere, self.unmeasured):
            place.pop(spec.name, None)
