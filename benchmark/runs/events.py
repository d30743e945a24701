"""Events that a run's process sends to its parent, one JSON line each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from benchmark.runs.record import Stage
from clothclf.results import EpochResult
from clothclf.settings import Settings


class StageStarted(Settings):
    """A stage of the run has started."""

    kind: Literal["stage"] = "stage"
    stage: Stage


class Progress(Settings):
    """Progress within a stage."""

    kind: Literal["progress"] = "progress"
    doing: str
    """Name of the current work, such as `features` or `epoch 3/10`."""
    done: int
    total: int


class EpochDone(Settings):
    """An epoch has been trained and validated."""

    kind: Literal["epoch"] = "epoch"
    result: EpochResult
    epochs: int
    cached_features: bool = False
    """Whether only the head was trained, on cached features; speed is then not the network's."""


class Resumed(Settings):
    """Training resumes from the checkpoint of an earlier process."""

    kind: Literal["resumed"] = "resumed"
    epochs: int
    """Number of epochs that are already done."""
    steps: int
    """Number of steps of the next epoch that are already done."""


class Note(Settings):
    """A message for the user."""

    kind: Literal["note"] = "note"
    text: str


class Failed(Settings):
    """The run has failed; no event follows. The parent records it once there is disk space."""

    kind: Literal["failed"] = "failed"
    reason: str
    """Reason of the failure in one sentence."""


class Unmeasured(Settings):
    """The run is done except for the stage `measure`, which follows at the end of the study."""

    kind: Literal["unmeasured"] = "unmeasured"


class Waiting(Settings):
    """The run is the next to start, and cannot start yet."""

    kind: Literal["waiting"] = "waiting"
    reason: str
    """What it waits for: FREE_WORKER, or memory with the amounts."""


FREE_WORKER = "a free worker"
"""The reason of every run beyond the number of workers."""

Event = StageStarted | Progress | EpochDone | Resumed | Note | Failed | Unmeasured | Waiting
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def describe(event: StageStarted | EpochDone | Resumed | Note) -> str:
    """Return an event as one line of text."""
    if isinstance(event, StageStarted):
        return f"stage {event.stage}"
    if isinstance(event, Resumed):
        steps = f" and {event.steps:,} steps" if event.steps else ""
        return f"resumed after {event.epochs} epochs{steps}"
    if isinstance(event, Note):
        return event.text
    result = event.result
    speed = "" if event.cached_features else f", {result.images_per_second:,.0f} images/s"
    return (
        f"epoch {result.epoch}/{event.epochs}: loss {result.train_loss:.3f}, "
        f"valid loss {result.valid_loss:.3f}, valid accuracy {100 * result.valid_accuracy:.1f} %"
        f"{speed}"
    )
