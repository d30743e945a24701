"""The contract of executors: what the scheduler needs to start runs and to follow them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from benchmark.engine.process import Limits
from benchmark.runs.events import Event
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.spec import RunSpec
from clothclf.errors import SettingsError


@dataclass(frozen=True)
class Resources:
    """What the user grants: concurrent runs, and what each of them has."""

    workers: int | None = None
    """Concurrent runs; None lets the executor decide."""
    address: str | None = None
    """Of a cluster; its form is the executor's."""
    cpus_per_run: float | None = None
    gpus_per_run: float | None = None
    processes_per_run: int = 1
    """Processes that train one network together."""


DEFAULT_RESOURCES = Resources()


class ExecutorModule(Protocol):
    """What the module of an executor provides."""

    def check_resources(self, resources: Resources, device: str) -> int:
        """The number of processes of each run on the study's `device`.

        Called before anything else is done, so it must be quick. Raises UserError where the
        resources contradict each other or are not there.
        """

    def open_executor(
        self, resources: Resources, limits: Limits, device: str, notify: Callable[[str], None]
    ) -> AbstractContextManager[tuple[Executor, int]]:
        """The executor, open within the block, and how many concurrent runs it starts with.

        `limits` apply to each run. Raises UserError where it cannot be used.
        """


def one_process_per_gpu(gpus: float, processes: int) -> int:
    """Processes of a run with whole GPUs; raises SettingsError where others were asked for."""
    needed = max(1, int(gpus))
    if processes not in (1, needed):
        raise SettingsError(
            f"--gpus-per-run {gpus:g} has a process for each GPU: leave out "
            f"--processes-per-run {processes}"
        )
    return needed


class RunAtWork(Protocol):
    """One run that goes on, here or elsewhere; its results come to its folder on this machine."""

    spec: RunSpec
    folder: RunFolder

    def fileno(self) -> int:
        """Of a pipe that is readable when there are events, or no more of them."""

    def read(self) -> tuple[list[Event], bool]:
        """Events that have come, and whether there will be no more; it never waits."""

    def lateness(self) -> str:
        """Why it is to be ended, where it has taken longer than it may; else empty."""

    def ask_to_stop(self) -> None:
        """Let it finish its step and keep a checkpoint."""

    def end(self, why: str = "") -> None:
        """End it at once; `why` will be the reason of its failure."""

    def outcome(self) -> RunRecord | Failure | None:
        """How it ended, once there are no more events; None where it stopped and can go on."""


class Executor(Protocol):
    """Puts runs to work, and knows how many there is room for."""

    measures_at_once: bool
    """Runs are measured as they go; else all but measuring is done first, and that one by one."""

    def has_room(self, spec: RunSpec, running: int) -> bool:
        """Whether a run can be begun beside `running` others."""

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> RunAtWork:
        """Begin a run in a folder that is ready; without `measure` it ends before measuring.

        Raises OSError where it cannot be begun.
        """

    def ended(self, run: RunAtWork) -> None:
        """Take back what a run had."""
