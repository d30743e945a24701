"""Results of a run: its record if it finished, else its failure or rejection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from benchmark.runs.spec import RunSpec
from benchmark.runs.upgrade import RECORD_VERSION, upgraded
from clothclf.results import Cost, Evaluation, MeasuredCost, TrainingResult
from clothclf.settings import Settings

Stage = Literal["start", "data", "build", "cost", "tune", "train", "evaluate", "save", "measure"]


class Environment(Settings):
    """Machine and software of a run."""

    bench: str
    python: str
    platform: str
    processor: str
    device: str
    """`cpu`, or the name of the GPU."""
    threads: int
    """Number of CPU threads of each process."""
    processes: int = 1
    """Number of processes that trained the network, each on such a device or a part of the CPU."""
    versions: dict[str, str]
    """Versions of the main libraries by name."""
    git_commit: str
    """Commit of the checkout of bench; empty if it was installed as a package."""


class _Stored(Settings):
    """A file of a run that is read in earlier versions too."""

    upgrade: ClassVar[Callable[[Any], Any]] = staticmethod(upgraded)

    version: Literal[4] = RECORD_VERSION
    check: str = ""
    """SHA-256 of the file with this field empty."""
    run_id: str
    spec: RunSpec


class RunRecord(_Stored):
    """A finished run: its settings, its measurements and its environment."""

    cost: Cost | None
    cost_error: str
    """Why the cost could not be counted; empty otherwise."""
    measured: MeasuredCost | None
    """Time and memory on the device of the run; None if not requested or not possible."""
    measured_error: str
    """Why time and memory could not be measured; empty otherwise."""
    training: TrainingResult
    test: Evaluation
    """Evaluation of the split `spec.evaluate`: the test split, except in probes of a selection."""
    backbone_sha256: str
    """SHA-256 of the backbone's parameters before training, which identifies a random backbone."""
    environment: Environment
    stage_seconds: dict[str, float]
    peak_memory_bytes: int
    """Maximum resident memory of the run's process in bytes."""
    started_at: str
    """Time in UTC, ISO 8601."""
    finished_at: str
    attempts: int = 1
    """Number of attempts on a cluster; all but the last lost their node."""
    files: dict[str, str]
    """SHA-256 of each result file by name."""


class Failure(_Stored):
    """A failed run: its settings, the stage and the reason."""

    stage: Stage
    reason: str
    """Reason of the failure in one sentence."""
    log_tail: str
    """The last lines that the run printed."""
    at: str
    """Time in UTC, ISO 8601."""
    lost: bool = False
    """Whether the run failed because its nodes were lost repeatedly; the next study retries it."""
    attempts: int = 1
    """Number of attempts on a cluster."""


class Rejection(_Stored):
    """A run that was merged from a pack without its record, which was invalid there."""

    reason: str
    """Why the record was invalid, without a full stop."""
