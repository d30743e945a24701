"""Live table of a running study, below the printed lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment

from benchmark.runs.spec import RunSpec
from benchmark.terminal.live_layout import Layout, Line
from benchmark.terminal.progress import StudyProgress

REFRESH_EVERY_S = 0.25


class LiveTable:
    """Draws a study's progress, at most every REFRESH_EVERY_S and only if it has changed.

    It has no thread; the event loop calls `refresh` regularly.
    """

    def __init__(self, console: Console, progress: StudyProgress, plan: Sequence[RunSpec]) -> None:
        """Create the table; it is drawn after `open`."""
        self._console = console
        self._layout = Layout(progress, plan, not console.encoding.startswith("utf"))
        self._drawn: list[Line] = []
        self._looked_s = 0.0
        self._live = Live(
            self,
            console=console,
            auto_refresh=False,
            transient=True,
            # Other output goes above the table; a piped stdout must not go to the terminal.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )

    def open(self) -> None:
        """Show the table, unless it is shown already."""
        self._live.start(refresh=True)

    def close(self) -> None:
        """Remove the table and restore the cursor."""
        self._live.stop()

    def refresh(self) -> None:
        """Redraw the table if it has changed, at most every REFRESH_EVERY_S."""
        now = time.monotonic()
        if not self._live.is_started or now - self._looked_s < REFRESH_EVERY_S:
            return
        self._looked_s = now
        if self._layout.lines(*self._console.size) != self._drawn:
            self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._drawn = self._layout.lines(*options.size)
        for number, line in enumerate(self._drawn):
            if number:
                yield Segment.line()
            for text, style in line:
                yield Segment(text, style)
