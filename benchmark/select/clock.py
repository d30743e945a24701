"""Track the wall-clock time of a selection by phase, over all its commands."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from benchmark.select.selection_state import Spent, read_spent, write_spent

SAVE_INTERVAL_S = 5.0
SETUP, RESULT, CHECK = "setup", "answer", "check"
"""Phases before the first rung, after the last rung, and outside the budget."""


class Clock:
    """Counts the seconds of each phase, and saves them so that they survive a killed command."""

    def __init__(self, budget_s: float) -> None:
        """Start the clock at the start of this process, so that imports count."""
        self.budget_s = budget_s
        self._seconds: dict[str, float] = {}
        self._phase = SETUP
        self._since = time.monotonic() - process_age_s()
        self._file: tuple[Path, str] | None = None
        self._saved_at = self._since
        self._stopped = False

    def persist(self, root: Path, name: str, resumed: bool) -> None:
        """Save the time with a selection from now on; resume the saved time if `resumed`."""
        if resumed:
            self._seconds = dict(read_spent(root, name).seconds)
        self._file = (root, name)

    def enter(self, phase: str) -> None:
        """Start another phase."""
        self._count()
        self._phase = phase
        self._write()

    def tick(self) -> None:
        """Save the time regularly, in case the process is killed."""
        self._count()
        if self._since - self._saved_at >= SAVE_INTERVAL_S:
            self._write()

    def stop(self) -> None:
        """Discard the time of this command, because the selection is complete."""
        self._file, self._stopped = None, True

    def spent_s(self, phase: str | None = None) -> float:
        """Seconds of a phase, or of all phases."""
        self._count()
        return sum(self._seconds.values()) if phase is None else self._seconds.get(phase, 0.0)

    @property
    def left_s(self) -> float:
        """Remaining seconds of the budget; negative once it is exceeded."""
        return self.budget_s - self.spent_s()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far by phase."""
        self._count()
        return dict(self._seconds)

    def _count(self) -> None:
        if self._stopped:
            return
        now = time.monotonic()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._since = now

    def _write(self) -> None:
        self._saved_at = self._since
        if self._file is not None:
            with contextlib.suppress(OSError):  # on a full disk, the runs report the error
                write_spent(*self._file, Spent(seconds=self._seconds))


def process_age_s() -> float:
    """Seconds since this process started; 0 if unknown."""
    try:
        fields = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
        up_s = float(Path("/proc/uptime").read_text("ascii").split()[0])
        return max(0.0, up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
