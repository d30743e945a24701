"""Memory needs of runs, found by probes while the first run executes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from benchmark.engine.estimate import estimate
from benchmark.engine.probe import probe
from benchmark.runs.spec import RunSpec

Kind = tuple[str, "int | None", int, str]


class MemoryNeeds:
    """Working memory of runs in bytes, which the system cannot reclaim; computed in a thread.

    A probe takes some seconds per architecture. Its result is cached, and shared by seeds and
    later studies.
    """

    def __init__(self, ask: Callable[[RunSpec], int] | None = None) -> None:
        """Use `ask`, which may be slow, to get the bytes of a run; default `working_memory`."""
        self._ask = ask or working_memory
        self._needs: dict[Kind, int] = {}
        self._waiting: set[Kind] = set()
        self._queue: queue.Queue[RunSpec] = queue.Queue()
        self._thread: threading.Thread | None = None

    def of(self, spec: RunSpec) -> int | None:
        """Return the bytes of a run, or None until known; the first call starts a probe."""
        kind = _kind(spec)
        if kind not in self._needs and kind not in self._waiting:
            self._waiting.add(kind)
            self._queue.put(spec)
            if self._thread is None:
                self._thread = threading.Thread(target=self._find, daemon=True)
                self._thread.start()
        return self._needs.get(kind)

    def _find(self) -> None:
        while True:
            spec = self._queue.get()
            try:
                needed = self._ask(spec)
            except Exception:  # the run itself will report the error
                needed = 0
            self._needs[_kind(spec)] = needed


def working_memory(spec: RunSpec) -> int:
    """Return the estimate of `bench plan` in bytes; TrainingError if the run cannot start."""
    return estimate(spec, probe(spec)).working_memory_bytes


def _kind(spec: RunSpec) -> Kind:
    return spec.architecture, spec.head.hidden, spec.image_size, spec.precision
