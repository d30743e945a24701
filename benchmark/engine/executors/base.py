"""Interface of executors, through which the scheduler starts and follows runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from benchmark.engine.process import Limits
from benchmark.runs.events import Event
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.errors import SettingsError


@dataclass(frozen=True)
class Resources:
    """Requested resources: the number of concurrent runs, and the resources of each."""

    workers: int | None = None
    """Number of concurrent runs; None lets the executor decide."""
    address: str | None = None
    """Address of a cluster, in a format that the executor defines."""
    cpus_per_run: float | None = None
    gpus_per_run: float | None = None
    processes_per_run: int = 1
    """Number of processes that train one network together."""


DEFAULT_RESOURCES = Resources()


class ExecutorModule(Protocol):
    """Functions that the module of an executor provides."""

    def check_resources(self, resources: Resources, device: str) -> int:
        """Return the number of processes per run on the study's `device`.

        Called before anything else, so it must be fast. Raises UserError if the options are
        contradictory or the resources are not available.
        """

    def open_executor(
        self, resources: Resources, limits: Limits, device: str, notify: Callable[[str], None]
    ) -> AbstractContextManager[tuple[Executor, int]]:
        """Return a context with the executor and its initial number of concurrent runs.

        `limits` apply to each run. Raises UserError if the executor cannot be used.
        """


def one_process_per_gpu(gpus: float, processes: int) -> int:
    """Return the number of processes for whole GPUs; SettingsError if `processes` differs."""
    needed = max(1, int(gpus))
    if processes not in (1, needed):
        raise SettingsError(
            f"--gpus-per-run {gpus:g} starts one process per GPU; remove --processes-per-run "
            f"{processes}"
        )
    return needed


class RunAtWork(Protocol):
    """A run in execution, here or elsewhere. Its results are written to its local folder."""

    spec: RunSpec
    folder: RunFolder

    def fileno(self) -> int:
        """Return the file descriptor of a pipe, readable when there are events or it is closed."""

    def read(self) -> tuple[list[Event], bool]:
        """Return the new events, and whether the pipe is closed; does not block."""

    def lateness(self) -> str:
        """Return the reason to end a run that exceeds its timeout; empty otherwise."""

    def request_stop(self) -> None:
        """Request a stop after the current step, with a checkpoint."""

    def end(self, why: str = "") -> None:
        """End the run immediately; `why` is the reason of the failure."""

    def outcome(self) -> RunRecord | Failure | None:
        """Return the result after the last event; None if the run stopped and can resume."""


class Executor(Protocol):
    """Starts runs, and decides when another one can start."""

    measures_at_once: bool
    """Whether runs are measured immediately; else they are measured at the end, one at a time."""

    def waits_for(self, spec: RunSpec, running: int) -> str:
        """Return what a run waits for beside `running` others; empty if it can start."""

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> RunAtWork:
        """Start a run in a prepared folder; without `measure`, it skips that stage.

        Raises OSError if the run cannot start.
        """

    def ended(self, run: RunAtWork) -> None:
        """Free the resources of a run."""
