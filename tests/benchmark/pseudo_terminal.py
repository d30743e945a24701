"""A terminal without a screen: a command runs in it, and what it draws can be looked at."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte

from tests.benchmark.forked import start_on_terminal

WIDEST = 1000
TIMEOUT_S = 240
SETTINGS = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""What a tester's own environment may say about terminals."""

Frame = list[str]


@dataclass
class Shown:
    """What a command left on its terminal, and what stood there on the way."""

    code: int = 0
    raw: bytes = b""
    widest: int = 0
    """The longest line that was ever drawn, as if the terminal had no right edge."""
    frames: list[Frame] = field(default_factory=list)
    """The screen whenever something had come, without the lines that had gone off its top."""
    scrollback: list[str] = field(default_factory=list)
    """All lines at the end: those off the top, then the screen."""
    cursor_hidden: bool = False

    def frames_with(self, *texts: str) -> list[Frame]:
        """Frames on which all of the texts stood at once."""
        return [frame for frame in self.frames if all(text in "\n".join(frame) for text in texts)]


def lines_of(screen: pyte.HistoryScreen) -> list[str]:
    """Lines off the top and on the screen, without spaces at their ends."""
    above = ["".join(line[x].data for x in range(screen.columns)) for line in screen.history.top]
    return [line.rstrip() for line in [*above, *screen.display]]


def run_in_terminal(
    arguments: Sequence[str],
    folder: Path,
    size: tuple[int, int] = (80, 24),
    environment: Mapping[str, str] = {},
    keys: Callable[[Shown], bytes] = lambda shown: b"",
) -> Shown:
    """Run `bench` on a terminal of `size` columns and lines, to its end.

    `keys` says what is typed, after each time that something was drawn.
    """
    width, height = size
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    inherited = {
        k: v for k, v in os.environ.items() if k not in SETTINGS and not k.startswith("MLFLOW_")
    }
    variables = {**inherited, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", **environment}
    process = start_on_terminal(tuple(arguments), folder, variables, theirs)
    os.close(theirs)
    screen = pyte.HistoryScreen(width, height, history=100_000, ratio=0.001)
    edgeless = pyte.HistoryScreen(WIDEST, height, history=100_000, ratio=0.001)
    streams = [pyte.ByteStream(screen), pyte.ByteStream(edgeless)]
    shown = Shown()
    end = time.monotonic() + TIMEOUT_S
    try:
        while part := _read(ours):
            assert time.monotonic() < end, shown.frames[-1:]
            shown.raw += part
            for stream in streams:
                stream.feed(part)
            shown.frames.append([line.rstrip() for line in screen.display])
            shown.widest = max(shown.widest, *(len(line.rstrip()) for line in edgeless.display))
            if typed := keys(shown):
                os.write(ours, typed)
        process.join(60)
        assert process.exitcode is not None
        shown.code = process.exitcode
    finally:
        process.kill()
        os.close(ours)
    shown.scrollback = lines_of(screen)
    shown.cursor_hidden = screen.cursor.hidden
    return shown


def _read(ours: int) -> bytes:
    try:
        return os.read(ours, 65_536)
    except OSError:  # the terminal's other side has closed
        return b""
