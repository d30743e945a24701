"""Ctrl-C and SIGTERM while a study runs: the first asks for an orderly end, the second insists."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user has asked for the end; who carries out a study looks at it now and then."""

    def __init__(self) -> None:
        """Nobody has, so far."""
        self.asked = False
        self.insisted = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take both signals within the block; a second one is raised as KeyboardInterrupt.

        The first never cuts anything in half: a transaction cut short would keep its lock on the
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
        self.insisted = self.asked
        self.asked = True
        if self.insisted:
            raise KeyboardInterrupt
