"""Queue of epochs to log: immediately for a few runs, in batches for many."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmark.runs.spec import RunSpec
from clothclf.results import EpochResult

SHARE = 0.25
"""Maximum share of the scheduler's time for logging epochs, so that it can also serve the runs."""
WEIGHT = 0.1
"""Weight of the newest call in the moving average of call durations."""


@dataclass
class _Waiting:
    spec: RunSpec
    results: list[EpochResult] = field(default_factory=list)
    not_before: float = 0.0


class Curves:
    """Pending epochs of each run, and the time of its next logging call."""

    def __init__(self) -> None:
        """Start with an empty queue."""
        self._runs: dict[str, _Waiting] = {}
        self._call_s = 0.0

    def add(self, spec: RunSpec, result: EpochResult) -> None:
        """Queue the result of an epoch."""
        self._runs.setdefault(spec.run_id, _Waiting(spec)).results.append(result)

    def due(self) -> list[tuple[RunSpec, list[EpochResult]]]:
        """Remove and return the pending epochs of the runs that are due; the caller logs them."""
        now = time.monotonic()
        taken = []
        for waiting in self._runs.values():
            if waiting.results and now >= waiting.not_before:
                taken.append((waiting.spec, waiting.results))
                waiting.results = []
        return taken

    def took(self, spec: RunSpec, seconds: float) -> None:
        """Record the duration of a run's call; its next one waits until all others had a turn."""
        self._call_s += (seconds - self._call_s) * (WEIGHT if self._call_s else 1.0)
        pause = self._call_s * len(self._runs) / SHARE
        if spec.run_id in self._runs:
            self._runs[spec.run_id].not_before = time.monotonic() + pause

    def forget(self, run_id: str) -> list[tuple[RunSpec, list[EpochResult]]]:
        """Remove a run that has ended and return its pending epochs, if any."""
        waiting = self._runs.pop(run_id, None)
        return [(waiting.spec, waiting.results)] if waiting and waiting.results else []
