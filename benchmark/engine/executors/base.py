"""What the schedule needs of a run at work, and of that which puts runs to work."""

from __future__ import annotations

from typing import Protocol

from benchmark.runs.events import Event
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.spec import RunSpec


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
