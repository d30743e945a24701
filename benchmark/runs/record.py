"""What a run leaves behind: its record when it ended well, else its failure."""

from __future__ import annotations

from typing import Literal

from benchmark.runs.spec import RunSpec
from clothclf.results import Cost, Evaluation, MeasuredCost, TrainingResult
from clothclf.settings import Settings

RECORD_VERSION: Literal[2] = 2

Stage = Literal["start", "data", "build", "cost", "train", "evaluate", "save", "measure"]


class Environment(Settings):
    """Where a run was measured."""

    bench: str
    python: str
    platform: str
    processor: str
    device: str
    """`cpu`, or the name of the GPU."""
    threads: int
    """Of each process."""
    processes: int = 1
    """That trained the network together, each on a device like this, or with part of the CPU."""
    versions: dict[str, str]
    """Of the libraries that do the work."""
    git_commit: str
    """Of the code's checkout; empty when it was installed as a package."""


class RunRecord(Settings):
    """A finished run: what was asked, what was measured, and under which conditions."""

    version: Literal[2] = RECORD_VERSION
    check: str = ""
    """SHA-256 of the file without this."""
    run_id: str
    spec: RunSpec
    cost: Cost | None
    cost_fault: str
    """Why nothing could be counted; empty otherwise."""
    measured: MeasuredCost | None
    """Time and memory on the device of the run; None where it was not asked for."""
    measured_fault: str
    """Why nothing could be measured; empty otherwise."""
    training: TrainingResult
    test: Evaluation
    """Of the split that `spec.evaluate` names: the test split, but for probes of a selection."""
    body_sha256: str
    """Of the backbone's parameters before training, so that a random one can be recognised."""
    environment: Environment
    stage_seconds: dict[str, float]
    peak_memory_bytes: int
    """Largest resident memory of the run's process."""
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str
    attempts: int = 1
    """Times that it was begun on a cluster; those before the last lost their node."""
    files: dict[str, str]
    """SHA-256 of each file beside the record."""


class Failure(Settings):
    """A run that did not end well."""

    version: Literal[2] = RECORD_VERSION
    check: str = ""
    """SHA-256 of the file without this."""
    run_id: str
    spec: RunSpec
    stage: Stage
    reason: str
    """One sentence."""
    log_tail: str
    """The last lines that the run printed."""
    at: str
    """UTC, ISO 8601."""
    lost: bool = False
    """Its nodes were lost, time and again: no fault of the run; the next study tries it again."""
    attempts: int = 1
    """Times that it was begun on a cluster."""
