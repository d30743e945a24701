"""Handle Ctrl-C and SIGTERM during a study: stop gracefully first, immediately when repeated."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Stop request of the user, polled by the code that executes a study."""

    def __init__(self) -> None:
        """Start without a request."""
        self.requested = False
        self.repeated = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle both signals within the context; a second one raises KeyboardInterrupt.

        The first only sets a flag, because an interrupted transaction would keep its lock on the
        tracking store.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in NUMBERS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # an ignored signal stays ignored
                signal.signal(number, self._note)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.repeated = self.requested
        self.requested = True
        if self.repeated:
            raise KeyboardInterrupt
