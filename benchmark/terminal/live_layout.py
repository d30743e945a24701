"""Lay out a study's progress for a terminal of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from rich.cells import cell_len
from rich.style import Style

from benchmark.runs.spec import RunSpec
from benchmark.terminal.progress import RunProgress, StudyProgress
from benchmark.terminal.time_left import run_left, study_left
from benchmark.text.numbers import duration
from benchmark.text.printable import clock, printable, roughly, shorten

MAX_WAITING = 8
"""Maximum number of waiting runs to show."""
MIN_NAME = 16
SPARE_NAME = 40
"""Name width reserved before optional columns are shown."""
BAR = 10
MAX_BAR = 30
MAX_WEIGHTS = 32
INDENT = "  "
PLAIN, DIM, BOLD = Style(), Style(dim=True), Style(bold=True)
STATE, DONE = Style(color="cyan"), Style(color="green")

Chunk = tuple[str, Style]
Line = list[Chunk]


@dataclass(frozen=True)
class Column:
    """One column of the live table; `left` columns are left-aligned."""

    title: str
    width: int
    cell: Callable[[RunProgress], str]
    left: bool = False
    style: Style = PLAIN

    def padded(self, text: str, style: Style) -> Chunk:
        """Pad text to the column's width, after two spaces."""
        room = " " * max(0, self.width - cell_len(text))
        return INDENT + (text + room if self.left else room + text), style


class Layout:
    """Lines of the live table for a given terminal size; the plan sets the column widths."""

    def __init__(
        self, progress: StudyProgress, plan: Sequence[RunSpec], ascii_only: bool = False
    ) -> None:
        """Create the layout; `plan` has every run that may be shown."""
        self._progress = progress
        self._ellipsis = "..." if ascii_only else "…"
        self._bar_signs = ("#", "-") if ascii_only else ("━", "─")
        self._name_width = max((cell_len(printable(spec.name)) for spec in plan), default=MIN_NAME)
        epochs = max((spec.train.epochs for spec in plan), default=1)
        trials = max((2 * spec.tuning.trials for spec in plan if spec.tuning), default=1)
        weights = max((cell_len(spec.weights.name) for spec in plan), default=0)
        self._state = Column(
            "state",
            max(map(len, ("features", f"epoch {epochs}/{epochs}", f"trial {trials}/{trials}"))),
            lambda run: run.doing,
            left=True,
            style=STATE,
        )
        self._bar = Column("", BAR, lambda run: "", left=True, style=DONE)
        self._valid = Column("valid", 7, _valid)
        self._loss = Column("loss", 7, _loss)
        self._speed = Column("images/s", 10, _speed)
        self._done = Column("done", 5, _done)
        self._time = Column("time", 7, lambda run: clock(progress.clock() - run.started_s))
        self._left = Column("left", 9, self._left_cell)
        self._weights = Column(
            "weights",
            min(MAX_WEIGHTS, max(len("weights"), weights)),
            lambda run: shorten(printable(run.spec.weights.name), MAX_WEIGHTS, self._ellipsis),
            left=True,
        )

    def lines(self, width: int, height: int) -> list[Line]:
        """All lines, shorter than the terminal's width and fewer than its height."""
        whole = self._study_line(width - 1)
        rows = height - 3  # the titles, the study's line, and one line of printed output
        if rows < 1 or not (self._progress.running or self._progress.waiting):
            return [whole]
        name_width, columns = self.fit(width)
        titles = [
            (f"{INDENT}{'run':<{name_width}}", DIM),
            *(column.padded(column.title, DIM) for column in columns),
        ]
        return [titles, *self._rows(rows, name_width, columns), whole]

    def fit(self, width: int) -> tuple[int, list[Column]]:
        """Width of names, and the columns that fit, least important ones hidden."""
        room = width - 1 - len(INDENT)  # some terminals wrap a full line
        needed = (self._state, self._valid, self._left, self._done, self._time)
        spare = (self._bar, self._loss, self._speed, self._weights)
        chosen: list[Column] = []
        for column in (*needed, *spare):
            max_name = MIN_NAME if column in needed else SPARE_NAME
            name = min(self._name_width, max_name)
            if name + sum(len(INDENT) + c.width for c in [*chosen, column]) > room:
                break
            chosen.append(column)
        room -= sum(len(INDENT) + column.width for column in chosen)
        name_width = max(1, min(self._name_width, room))
        order = (
            *(self._state, self._bar, self._done, self._valid, self._loss, self._speed),
            *(self._time, self._left, self._weights),
        )
        return name_width, [
            self._stretched(room - name_width) if column is self._bar else column
            for column in order
            if column in chosen
        ]

    def _stretched(self, room: int) -> Column:
        width = min(MAX_BAR, BAR + max(0, room))
        full, empty = self._bar_signs

        def draw(run: RunProgress) -> str:
            if run.share is None:
                return ""
            filled = math.floor(width * run.share)
            return full * filled + empty * (width - filled)

        return replace(self._bar, width=width, cell=draw)

    def _rows(self, rows: int, name_width: int, columns: Sequence[Column]) -> list[Line]:
        """At most `rows` lines: running runs, the next few, and the number of further runs."""
        running = list(self._progress.running.values())
        waiting = len(self._progress.waiting)
        shown = _fitting(len(running), rows)
        lines = [self._row(run, name_width, columns) for run in running[:shown]]
        if shown < len(running):
            return [*lines, [(f"{INDENT}and {len(running) - shown} more running", DIM)]]
        rows = min(rows - shown, MAX_WAITING + 1)
        next_ones = _fitting(waiting, rows)
        names = islice(self._progress.waiting, next_ones)
        lines += [self._waiting_row(name, name_width, columns) for name in names]
        if next_ones < waiting and rows:
            lines.append([(f"{INDENT}and {waiting - next_ones:,} more", DIM)])
        return lines

    def _row(self, run: RunProgress, name_width: int, columns: Sequence[Column]) -> Line:
        return [
            (self._name(run.spec.name, name_width), PLAIN),
            *(column.padded(column.cell(run), column.style) for column in columns),
        ]

    def _waiting_row(self, name: str, name_width: int, columns: Sequence[Column]) -> Line:
        text = self._name(name, name_width)
        if self._state in columns:
            next_one, reason = self._progress.waits_for
            why = f" for {reason}" if name == next_one and self._progress.workers > 1 else ""
            room = sum(len(INDENT) + column.width for column in columns) - len(INDENT)
            text += INDENT + shorten(f"waiting{why}", room, self._ellipsis)
        return [(text, DIM)]

    def _name(self, name: str, width: int) -> str:
        text = shorten(printable(name), width, self._ellipsis)
        return INDENT + text + " " * (width - cell_len(text))

    def _left_cell(self, run: RunProgress) -> str:
        left = run_left(run, self._progress.evidence, self._progress.clock())
        if left is None:
            return ""
        return clock(left.seconds) + (" +" if left.more else "")

    def _study_line(self, room: int) -> Line:
        """Number of runs done, elapsed and remaining time; omits what does not fit."""
        progress = self._progress
        text = f"{INDENT}{progress.done:,} of {progress.runs:,} runs done"
        for count, what in (
            (progress.failed, "failed"),
            (len(progress.unmeasured), "to be measured"),
            (len(progress.elsewhere), "elsewhere"),
        ):
            text += f", {count:,} {what}" if count else ""
        so_far = f"; {duration(progress.clock() - progress.started_s)} so far"
        left = self._study_left()
        for end in (so_far + f", {left}" * bool(left), f"; {left}" * bool(left), so_far):
            if end and len(text) + len(end) <= room:
                text += end
                break
        return [(text[:room], BOLD)]

    def _study_left(self) -> str:
        left = study_left(self._progress)
        if left is None or left.seconds <= 0:
            return ""
        then = f", then {left.to_measure} to measure" if left.to_measure else ""
        return f"about {roughly(left.seconds)} left{then}"


def _fitting(count: int, rows: int) -> int:
    """Number of rows to show: all, or one fewer than fit, to leave a line for the rest."""
    return count if count <= rows else max(0, rows - 1)


def _done(run: RunProgress) -> str:
    return "" if run.share is None else f"{math.floor(100 * run.share)} %"


def _valid(run: RunProgress) -> str:
    return "" if run.epoch is None else f"{100 * run.epoch.valid_accuracy:.1f} %"


def _loss(run: RunProgress) -> str:
    if run.epoch is None:
        return ""
    loss = run.epoch.train_loss
    return f"{loss:.3f}" if loss < 1000 else f"{loss:.1e}"


def _speed(run: RunProgress) -> str:
    if run.epoch is None or run.cached_features:
        return ""
    return f"{run.epoch.images_per_second:,.0f}"
