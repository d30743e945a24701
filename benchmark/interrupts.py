"""Let Ctrl-C and SIGTERM wait for the end of what must not be cut in half."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupts_postponed() -> Iterator[None]:
    """Raise KeyboardInterrupt after the block if one was asked for within it; a second is at once.

    Cut in half, a transaction would keep its lock on the store, and no more could be logged.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    waiting = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal waiting
        if waiting:
            raise KeyboardInterrupt
        waiting = True

    for number, handler in before.items():
        if callable(handler):  # an ignored signal stays ignored
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
    if waiting:
        raise KeyboardInterrupt
