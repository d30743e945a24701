"""A simulated study: its events, by a clock that a test sets."""

from __future__ import annotations

from benchmark.runs.events import EpochDone, Progress, StageStarted
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.terminal.progress import StudyProgress
from clothclf.results import EpochResult, Weights
from tests.benchmark.examples import make_record, make_spec


class Clock:
    """Time that advances only when a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_plan(count: int, architecture: str = "efficientnet_b0") -> list[RunSpec]:
    weights = Weights("pretrained", "timm/efficientnet_b0.ra_in1k", "0" * 64, None)
    return [make_spec(architecture, seed, weights=weights) for seed in range(count)]


def epoch(number: int, of: int = 10, accuracy: float = 0.841) -> EpochDone:
    return EpochDone(
        result=EpochResult(number, 0.51234, 0.8, 0.6, accuracy, 0.001, 12.0, 1234.5), epochs=of
    )


def in_training(progress: StudyProgress, clock: Clock, spec: RunSpec) -> None:
    """Two epochs of ten in 20 seconds, and half of the third."""
    progress.started(spec)
    progress.update(spec, StageStarted(stage="train"))
    progress.update(spec, Progress(doing="epoch 1/10", done=0, total=100))
    clock.now += 20
    progress.update(spec, epoch(1))
    progress.update(spec, epoch(2))
    clock.now += 5
    progress.update(spec, Progress(doing="epoch 3/10", done=50, total=100))


def finish(progress: StudyProgress, time: Clock, spec: RunSpec, seconds: float) -> RunRecord:
    progress.started(spec)
    time.now += seconds
    record = make_record(spec, 0.8)
    record = record.model_copy(update={"stage_seconds": {"train": seconds - 3, "evaluate": 2.0}})
    progress.finished(record)
    return record
