"""Print progress and tables to a terminal, or plain lines to a pipe."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Collection, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.config.study import StudySettings
from benchmark.report.training_notes import early_stop, training_notes
from benchmark.runs import events
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.root import cache_folder, open_store
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.terminal.live_table import LiveTable
from benchmark.terminal.progress import StudyProgress
from benchmark.text.numbers import duration
from benchmark.text.printable import printable
from benchmark.text.recipe_text import settings_text
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare

PIPED_WIDTH = 200
_FIGURE = re.compile(r"[-+]?\d[\d,.]*(\s|%|$)|[-–]?$")
"""Start of a cell in a column of figures, which is aligned to the right."""
_WHOLE_PART = re.compile(r"[-+]?\d[\d,]*")
SILENCE_S = 30.0
"""Maximum time between progress lines without a live table."""
MAX_FIRST_COLUMN = 40
MAX_LAST_COLUMN = len("finished, 3 seeds")
"""Width reserved for a table's first and last column before other columns are hidden."""


def make_console(stderr: bool = True) -> Console:
    """Make a console that does not wrap lines when its output is piped."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    # Output may contain file names, so markup and emoji are disabled.
    return Console(
        file=stream,
        width=width,
        highlight=False,
        soft_wrap=not stream.isatty(),
        markup=False,
        emoji=False,
    )


def prepare_with_progress(study: StudySettings, console: Console | None = None) -> DataSet:
    """Prepare the study's data below its tracking folder, with progress of decoding."""
    console = console or make_console()
    cache = cache_folder(open_store(study))
    started = time.monotonic()
    last_printed = started

    def notify(done: int, total: int) -> None:
        nonlocal last_printed
        now = time.monotonic()
        if now - last_printed >= 2:
            last_printed = now
            console.print(f"data: {done:,} of {total:,} images decoded")

    def note(text: str) -> None:
        console.print(f"data: {text}", style="yellow")

    return prepare(study.data, cache, notify, note)


def can_move(console: Console) -> bool:
    """Whether lines can be redrawn: only on an interactive terminal, not in a coloured pipe."""
    return console.is_interactive and console.file.isatty()


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    drop_first: Sequence[str] = (),
    bold: Collection[int] = (),
) -> None:
    """Print a table: with rules on a terminal, else in plain aligned columns.

    If the terminal is too narrow, hides columns and names them below the table: those of
    `drop_first` in that order, then from the right. The first and last column always stay.
    Figures are aligned at the decimal point. Rows in `bold` are emphasized.
    """
    # Cells are untrusted text: no markup, no control characters.
    titles, cells = _aligned(columns, [[printable(cell) for cell in row] for row in rows])
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    shown, whole = list(range(len(columns))), set[int]()
    if console.file.isatty():
        shown = _that_fit(console.width, columns, widths, drop_first)
        whole = {n for n in shown[:-1] if n or widths[n] <= MAX_FIRST_COLUMN}
    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for number in shown:
        table.add_column(Text(titles[number]), overflow="fold", no_wrap=number in whole)
    for index, row in enumerate(cells):
        style = "bold" if index in bold else None
        table.add_row(*(Text(row[number]) for number in shown), style=style)
    console.print(table)
    dropped = [name for number, name in enumerate(columns) if number not in shown]
    if dropped:
        console.print(f"hidden columns (terminal too narrow): {', '.join(dropped)}", style="dim")


def _is_figures(cells: Sequence[Sequence[str]], column: int) -> bool:
    """Whether a column, other than the first, has figures or dashes only."""
    return column > 0 and all(_FIGURE.match(row[column]) for row in cells)


def _aligned(columns: Sequence[str], cells: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Pad columns of figures to the right of their titles, aligned at the decimal point."""
    titles = list(columns)
    for number, title in enumerate(columns):
        if not cells or not _is_figures(cells, number):
            continue
        heads = [_whole_part(row[number]) for row in cells]
        tails = [cell_len(row[number]) - head for row, head in zip(cells, heads, strict=True)]
        width = max(cell_len(title), max(heads) + max(tails))
        titles[number] = " " * (width - cell_len(title)) + title
        for row, head in zip(cells, heads, strict=True):
            row[number] = " " * (width - max(tails) - head) + row[number]
    return titles, cells


def _whole_part(cell: str) -> int:
    """Length of a figure before its decimal point; of a dash, the whole."""
    match = _WHOLE_PART.match(cell)
    return match.end() if match else len(cell)


def _that_fit(
    width: int, columns: Sequence[str], widths: Sequence[int], drop_first: Sequence[str]
) -> list[int]:
    """Indices of the columns that fit into a terminal, in order."""
    # The outer columns may wrap: the reason of a failure is longer than any number.
    min_widths = [min(widths[0], MAX_FIRST_COLUMN), *widths[1:-1], min(widths[-1], MAX_LAST_COLUMN)]
    shown = list(range(len(columns)))
    named = [columns.index(name) for name in drop_first if name in columns]
    for number in [*named, *reversed(shown)]:
        if sum(min_widths[n] + len("   ") for n in shown) + 1 <= width:
            break
        if number in shown and 0 < number < len(columns) - 1:
            shown.remove(number)
    return shown


class TerminalListener:
    """Shows the progress of runs: a live table on a terminal, else one line for each epoch.

    Every run leaves a line with its result. With several workers, lines start with the run name.
    """

    def __init__(
        self,
        console: Console,
        runs: int,
        workers: int = 1,
        measured_apart: bool | None = None,
    ) -> None:
        """Arguments after `console` are passed to `StudyProgress`."""
        self._console = console
        self._workers = workers
        self._numbers: dict[str, int] = {}
        self._progress = StudyProgress(runs, workers, measured_apart=measured_apart)
        self._table: LiveTable | None = None
        self._printed_s = self._progress.clock()

    @contextlib.contextmanager
    def on_study(self, plan: Sequence[RunSpec]) -> Iterator[None]:
        """Set up the live table, and restore the terminal however the study ends."""
        self._progress.start_plan(plan)
        if can_move(self._console):
            self._table = LiveTable(self._console, self._progress, plan)
        try:
            yield
        finally:
            if self._table is not None:
                self._table.close()

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Report a run that finished earlier."""
        self._progress.finished(record)
        self._print_line(record.spec, f"already finished, skipped ({_result(record)})")

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Report a run that failed earlier, and how to retry it."""
        self._progress.gave_up(failure.spec)
        text = f"failed earlier in {failure.stage}: {failure.reason}"
        self._print_line(failure.spec, f"{text}; use --retry-failed to retry", "red")

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Report a run that another process holds."""
        self._progress.put_elsewhere(spec)
        self._print_line(spec, "in progress in another bench process; checked again at the end")

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """Show the run's row, or print that it starts."""
        self._number(spec)
        self._progress.started(spec)
        if self._table is not None:
            self._table.open()
            return
        again = ", resumed" if resumed else ""
        self._print_line(spec, f"{spec.model.mode}, weights {spec.weights.name}{again}")

    def on_event(self, spec: RunSpec, event: events.Event) -> None:
        """Update the run's row, or print a line for the epoch."""
        self._progress.update(spec, event)
        if isinstance(event, (events.Note, events.Resumed)):
            self._notify(spec, events.describe(event))
        elif self._table is not None:
            self._table.refresh()
        elif isinstance(event, events.EpochDone):
            self._notify(spec, events.describe(event))
        elif isinstance(event, events.Waiting) and event.reason != events.FREE_WORKER:
            self._print_line(spec, f"waiting for {event.reason}")

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Print the result of the run."""
        self._progress.finished(record)
        spec, training = record.spec, record.training
        if reason := early_stop(training, spec.train.epochs, spec.train.patience):
            self._notify(spec, reason)
        if training.tuning is not None:
            self._notify(spec, f"tuned: {settings_text(training.tuning)}")
        seconds = sum(record.stage_seconds.values())
        best = f"best epoch {training.best_epoch}"
        self._notify_end(spec, f"{_result(record)}, {best}, {seconds:.0f} s total")
        for note in training_notes(training, spec.train.epochs, len(spec.data_summary.classes)):
            self._notify(spec, note, "yellow")

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """Print the reason of the failure, and where the log is."""
        self._progress.gave_up(failure.spec)
        how = "lost" if failure.lost else "failed"
        self._notify_end(failure.spec, f"{how} in {failure.stage}: {failure.reason}", "red")
        self._notify(failure.spec, f"see the log in {folder.path}")

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Report a run that can be resumed."""
        self._progress.stopped(spec)
        self._notify_end(spec, "stopped")

    def on_tick(self) -> None:
        """Refresh the live table; without one, print progress after SILENCE_S."""
        if self._table is not None:
            self._table.refresh()
        elif self._progress.clock() - self._printed_s >= SILENCE_S:
            for run in self._progress.running.values():
                elapsed = duration(self._progress.clock() - run.started_s)
                self._notify(run.spec, f"{run.doing_text()}, {elapsed} so far")

    def _number(self, spec: RunSpec) -> int:
        return self._numbers.setdefault(spec.run_id, len(self._numbers) + 1)

    def _print_line(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        line = f"[{self._number(spec)}/{self._progress.runs}] {spec.name}: {text}"
        self._print(line, style)

    def _notify(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        named = self._workers > 1 or self._table is not None
        name = f"{spec.name}: " if named else ""
        self._print(f"  {name}{text}", style)

    def _print(self, line: str, style: str | None) -> None:
        self._printed_s = self._progress.clock()
        self._console.print(Text(printable(line)), style=style)

    def _notify_end(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        """Print the final line of a run, with its number if no line was printed at its start."""
        if self._table is None:
            self._notify(spec, text, style)
        else:
            self._print_line(spec, text, style)


def _result(record: RunRecord) -> str:
    split = "validation" if record.spec.evaluate == "valid" else "test"
    return f"{split} accuracy {100 * record.test.accuracy:.2f} %"
