"""Memory limits and early cancellation for image-decoding threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

from clothclf.allocator import release_free_memory

STOP_CHECK_S = 0.2
MAX_THREADS = 16
"""Maximum number of decoding threads. Each holds a file of up to 64 MiB beside its claim."""

_THREAD = threading.local()
"""Thread-local `stop` event of the pool that a thread belongs to; other threads have none."""


def raise_if_stopped() -> None:
    """Raise CancelledError in a thread whose `decoding_threads` block was cancelled."""
    stop: threading.Event | None = getattr(_THREAD, "stop", None)
    if stop is not None and stop.is_set():
        raise CancelledError


@contextlib.contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool for decoding images, which is cancelled on an error.

    On an exception such as Ctrl-C the block ends within seconds: pending images are dropped,
    threads that wait for memory give up, and images in progress stop at their next block or end.
    """
    stop = threading.Event()
    threads = min(MAX_THREADS, (os.cpu_count() or 1) + 4)  # more than cores: some wait for disk
    pool = ThreadPoolExecutor(threads, initializer=setattr, initargs=(_THREAD, "stop", stop))
    try:
        yield pool
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=stop.is_set())


class Budget:
    """Memory limit in bytes shared by all threads; requests beyond it wait in FIFO order.

    Each time that many bytes have been used, freed memory is returned to the system.
    """

    def __init__(self, total: int) -> None:
        """Create a budget of `total` bytes; a larger claim takes all of it."""
        self._total = total
        self._free = total
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def claim(self, amount: int) -> Iterator[None]:
        """Reserve `amount` bytes during the block.

        Raises CancelledError if the thread is stopped while it waits.
        """
        held = min(amount, self._total)
        self._wait(held)
        try:
            yield
        finally:
            self._count(held)
            self._put_back(held)

    def _wait(self, amount: int) -> None:
        with self._changed:
            if not self._waiting and self._free >= amount:
                self._free -= amount
                return
            ticket = object()
            self._waiting.append(ticket)
            try:
                # FIFO, because small images would otherwise starve a large one.
                while self._waiting[0] is not ticket or self._free < amount:
                    raise_if_stopped()
                    self._changed.wait(STOP_CHECK_S)
                self._free -= amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _count(self, used: int) -> None:
        self._used += used  # approximate: an update lost between threads does not matter
        if self._used >= self._total:
            self._used = 0
            release_free_memory()

    def _put_back(self, amount: int) -> None:
        with self._changed:
            self._free += amount
            if self._waiting:
                self._changed.notify_all()
