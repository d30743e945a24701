"""What runs will hold in memory, found by probes while the first of them goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from benchmark.engine.estimate import estimate
from benchmark.engine.probe import probe
from benchmark.runs.spec import RunSpec

Kind = tuple[str, "int | None", int, str]


class MemoryNeeds:
    """Bytes that runs will hold and the system cannot take back; told once they are known.

    A probe takes some seconds for each architecture, in a thread that waits for its process; what
    was found is kept, so that seeds share it and a further study finds it.
    """

    def __init__(self, ask: Callable[[RunSpec], int] | None = None) -> None:
        """`ask` finds out about a run, and may take long; without, `bench plan`'s estimate does."""
        self._ask = ask or working_memory
        self._found: dict[Kind, int] = {}
        self._waiting: set[Kind] = set()
        self._queue: queue.Queue[RunSpec] = queue.Queue()
        self._thread: threading.Thread | None = None

    def of(self, spec: RunSpec) -> int | None:
        """Bytes; None where it is not known yet, and is being found out."""
        kind = _kind(spec)
        if kind not in self._found and kind not in self._waiting:
            self._waiting.add(kind)
            self._queue.put(spec)
            if self._thread is None:
                self._thread = threading.Thread(target=self._find, daemon=True)
                self._thread.start()
        return self._found.get(kind)

    def _find(self) -> None:
        while True:
            spec = self._queue.get()
            try:
                found = self._ask(spec)
            except Exception:  # the run itself will tell what is wrong
                found = 0
            self._found[_kind(spec)] = found


def working_memory(spec: RunSpec) -> int:
    """By `bench plan`'s estimate, in bytes; raises TrainingError where the run cannot be begun."""
    return estimate(spec, probe(spec)).working_memory_bytes


def _kind(spec: RunSpec) -> Kind:
    return spec.architecture, spec.head.hidden, spec.image_size, spec.precision
