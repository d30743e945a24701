"""What a run's process tells its parent while it works: one JSON line each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from benchmark.runs.record import Stage
from clothclf.results import EpochResult
from clothclf.settings import Settings


class StageStarted(Settings):
    """A stage of the run begins."""

    kind: Literal["stage"] = "stage"
    stage: Stage


class Progress(Settings):
    """Work done in a stage."""

    kind: Literal["progress"] = "progress"
    doing: str
    """`features`, or `epoch 3/10`."""
    done: int
    total: int


class EpochDone(Settings):
    """An epoch has been trained and validated."""

    kind: Literal["epoch"] = "epoch"
    result: EpochResult
    epochs: int
    cached_features: bool = False
    """Whether a head alone was trained on them: the epoch's speed is then not the network's."""


class Resumed(Settings):
    """Training goes on where an earlier process was stopped."""

    kind: Literal["resumed"] = "resumed"
    epochs: int
    """Done before."""
    steps: int
    """Of the next epoch that are done."""


class Note(Settings):
    """Something the user should read."""

    kind: Literal["note"] = "note"
    text: str


class Failed(Settings):
    """The run cannot go on; nothing follows. Its parent writes it down, once there is room."""

    kind: Literal["failed"] = "failed"
    reason: str
    """One sentence."""


class Unmeasured(Settings):
    """The run has done all but its measuring, which is left for the end of the study."""

    kind: Literal["unmeasured"] = "unmeasured"


Event = StageStarted | Progress | EpochDone | Resumed | Note | Failed | Unmeasured
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])
