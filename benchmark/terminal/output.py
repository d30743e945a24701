"""What a person sees while bench works: progress and tables, plain lines when piped."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.report.numbers import duration
from benchmark.report.training_notes import early_stop, training_notes
from benchmark.runner import events
from benchmark.runner.run_folder import RunFolder
from benchmark.store import cache_folder, open_store
from benchmark.study import StudySettings
from benchmark.terminal.live_table import LiveTable
from benchmark.terminal.progress import StudyProgress
from benchmark.terminal.text import printable
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare

PIPED_WIDTH = 200
SILENCE_S = 30.0
"""Without a live table, a study says at least this often what it is doing."""
LONGEST_FIRST = 40
LONGEST_LAST = len("finished, 3 seeds")
"""Cells that a table's first and last column are given before others are left out."""


def make_console(stderr: bool = True) -> Console:
    """A console that does not cut lines when its output is piped or logged."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    # What is printed may hold names of files: no markup or emoji is looked for in it.
    return Console(
        file=stream,
        width=width,
        highlight=False,
        soft_wrap=not stream.isatty(),
        markup=False,
        emoji=False,
    )


def prepare_with_progress(study: StudySettings, console: Console | None = None) -> DataSet:
    """Prepare the study's data below its tracking folder, telling of the decoding if it lasts."""
    console = console or make_console()
    cache = cache_folder(open_store(study))
    started = time.monotonic()
    told = started

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 2:
            told = now
            console.print(f"data: {done:,} of {total:,} images decoded")

    def note(text: str) -> None:
        console.print(f"data: {text}", style="yellow")

    return prepare(study.data, cache, tell, note)


def can_move(console: Console) -> bool:
    """Whether lines can be drawn again: on a terminal that knows how, not in a coloured pipe."""
    return console.is_interactive and console.file.isatty()


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    drop_first: Sequence[str] = (),
) -> None:
    """Print a table: with rules on a terminal, else in plain aligned columns.

    Where a terminal is too narrow, columns are left out, and named below the table: those of
    `drop_first` in that order, then from the right; the first and the last always stay.
    """
    # Names of files are text: no markup is looked for in them, no code obeyed.
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    shown, whole = list(range(len(columns))), set[int]()
    if console.file.isatty():
        shown = _that_fit(console.width, columns, widths, drop_first)
        whole = {n for n in shown[:-1] if n or widths[n] <= LONGEST_FIRST}
    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for number in shown:
        table.add_column(columns[number], overflow="fold", no_wrap=number in whole)
    for row in cells:
        table.add_row(*(Text(row[number]) for number in shown))
    console.print(table)
    dropped = [name for number, name in enumerate(columns) if number not in shown]
    if dropped:
        console.print(f"not shown, for want of width: {', '.join(dropped)}", style="dim")


def _that_fit(
    width: int, columns: Sequence[str], widths: Sequence[int], drop_first: Sequence[str]
) -> list[int]:
    """Numbers of the columns that a terminal has room for, in order."""
    # Text of the outer ones may be folded: a failure's reason is longer than all figures.
    least = [min(widths[0], LONGEST_FIRST), *widths[1:-1], min(widths[-1], LONGEST_LAST)]
    shown = list(range(len(columns)))
    named = [columns.index(name) for name in drop_first if name in columns]
    for number in [*named, *reversed(shown)]:
        if sum(least[n] + len("   ") for n in shown) + 1 <= width:
            break
        if number in shown and 0 < number < len(columns) - 1:
            shown.remove(number)
    return shown


class TerminalListener:
    """Shows runs as they go: a live table on a terminal, a line for each epoch elsewhere.

    In either case every run leaves a line that says how it ended. Several runs at a time have
    lines that begin with the run's name.
    """

    def __init__(
        self,
        console: Console,
        runs: int,
        workers: int = 1,
        measured_apart: bool | None = None,
    ) -> None:
        """The arguments after the console are those of `StudyProgress`."""
        self._console = console
        self._workers = workers
        self._numbers: dict[str, int] = {}
        self._progress = StudyProgress(runs, workers, measured_apart=measured_apart)
        self._table: LiveTable | None = None
        self._printed_s = self._progress.clock()

    @contextlib.contextmanager
    def on_study(self, plan: Sequence[RunSpec]) -> Iterator[None]:
        """Make ready for a live table, and leave the terminal clean however the study ends."""
        self._progress.begin(plan)
        if can_move(self._console):
            self._table = LiveTable(self._console, self._progress, plan)
        try:
            yield
        finally:
            if self._table is not None:
                self._table.close()

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Say that nothing was to be done."""
        self._progress.finished(record)
        self._say(record.spec, f"finished before, skipped ({_result(record)})")

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Say how to try again."""
        self._progress.gave_up(failure.spec)
        text = f"failed before in {failure.stage}: {failure.reason}"
        self._say(failure.spec, f"{text}; --retry-failed tries again", "red")

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Say who has it."""
        self._progress.put_elsewhere(spec)
        self._say(spec, "another bench has this run; it is looked at again at the end")

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """Show the run's row, or say that it begins."""
        self._number(spec)
        self._progress.started(spec)
        if self._table is not None:
            self._table.open()
            return
        again = ", begun before" if resumed else ""
        self._say(spec, f"{spec.model.mode}, weights {spec.weights.name}{again}")

    def on_event(self, spec: RunSpec, event: events.Event) -> None:
        """Move the run's row, or print the epoch's line."""
        self._progress.hear(spec, event)
        if isinstance(event, events.Note):
            self._tell(spec, event.text)
        elif isinstance(event, events.Resumed):
            steps = f" and {event.steps:,} steps" if event.steps else ""
            self._tell(spec, f"goes on after {event.epochs} epochs{steps}")
        elif self._table is not None:
            self._table.refresh()
        elif isinstance(event, events.EpochDone):
            self._tell(spec, _epoch(event))

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Say how the run ended."""
        self._progress.finished(record)
        spec, training = record.spec, record.training
        if reason := early_stop(training, spec.train.epochs, spec.train.patience):
            self._tell(spec, reason)
        seconds = sum(record.stage_seconds.values())
        kept = f"epoch {training.best_epoch} kept"
        self._tell_end(spec, f"{_result(record)}, {kept}, {seconds:.0f} s in all")
        for note in training_notes(training, spec.train.epochs, len(spec.data_summary.classes)):
            self._tell(spec, note, "yellow")

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """Say why, and where the whole story is."""
        self._progress.gave_up(failure.spec)
        how = "lost" if failure.lost else "failed"
        self._tell_end(failure.spec, f"{how} in {failure.stage}: {failure.reason}", "red")
        self._tell(failure.spec, f"the log is in {folder.path}")

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Say which run can go on."""
        self._progress.stopped(spec)
        self._tell_end(spec, "stopped")

    def on_tick(self) -> None:
        """Refresh the live table; elsewhere say what is going on after some silence."""
        if self._table is not None:
            self._table.refresh()
        elif self._progress.clock() - self._printed_s >= SILENCE_S:
            for run in self._progress.running.values():
                taken = duration(self._progress.clock() - run.began_s)
                self._tell(run.spec, f"{run.doing_text()}, {taken} so far")

    def _number(self, spec: RunSpec) -> int:
        return self._numbers.setdefault(spec.run_id, len(self._numbers) + 1)

    def _say(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        line = f"[{self._number(spec)}/{self._progress.runs}] {spec.name}: {text}"
        self._print(line, style)

    def _tell(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        named = self._workers > 1 or self._table is not None
        name = f"{spec.name}: " if named else ""
        self._print(f"  {name}{text}", style)

    def _print(self, line: str, style: str | None) -> None:
        self._printed_s = self._progress.clock()
        self._console.print(Text(printable(line)), style=style)

    def _tell_end(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        """The line of a run that stays: with its number where nothing was said at its start."""
        if self._table is None:
            self._tell(spec, text, style)
        else:
            self._say(spec, text, style)


def _epoch(event: events.EpochDone) -> str:
    result = event.result
    speed = "" if event.cached_features else f", {result.images_per_second:,.0f} images/s"
    return (
        f"epoch {result.epoch}/{event.epochs}: loss {result.train_loss:.3f}, "
        f"valid loss {result.valid_loss:.3f}, valid accuracy {100 * result.valid_accuracy:.1f} %"
        f"{speed}"
    )


def _result(record: RunRecord) -> str:
    split = "validation" if record.spec.evaluate == "valid" else "test"
    return f"{split} accuracy {100 * record.test.accuracy:.2f} %"
