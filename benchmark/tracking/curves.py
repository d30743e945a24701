"""Epochs that wait to be logged: at once where runs are few, some at a time where they are many."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmark.runs.spec import RunSpec
from clothclf.results import EpochResult

SHARE = 0.25
"""Of the loop's time, at most, is for curves: it also starts runs and passes on what they say."""
WEIGHT = 0.1
"""Of the newest call in what a call takes on average."""


@dataclass
class _Waiting:
    spec: RunSpec
    results: list[EpochResult] = field(default_factory=list)
    not_before: float = 0.0


class Curves:
    """What is to be logged of each run, and when its turn is."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._runs: dict[str, _Waiting] = {}
        self._call_s = 0.0

    def add(self, spec: RunSpec, result: EpochResult) -> None:
        """An epoch is done."""
        self._runs.setdefault(spec.run_id, _Waiting(spec)).results.append(result)

    def due(self) -> list[tuple[RunSpec, list[EpochResult]]]:
        """Runs whose turn it is, with all that waits of them, which is then theirs to log."""
        now = time.monotonic()
        taken = []
        for waiting in self._runs.values():
            if waiting.results and now >= waiting.not_before:
                taken.append((waiting.spec, waiting.results))
                waiting.results = []
        return taken

    def took(self, spec: RunSpec, seconds: float) -> None:
        """A call for a run took so long: its next turn is when all others could have had theirs."""
        self._call_s += (seconds - self._call_s) * (WEIGHT if self._call_s else 1.0)
        pause = self._call_s * len(self._runs) / SHARE
        if spec.run_id in self._runs:
            self._runs[spec.run_id].not_before = time.monotonic() + pause

    def forget(self, run_id: str) -> list[tuple[RunSpec, list[EpochResult]]]:
        """The run has ended; return what waited, if anything."""
        waiting = self._runs.pop(run_id, None)
        return [(waiting.spec, waiting.results)] if waiting and waiting.results else []
