"""What a person sees while bench works: progress and tables, plain lines when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.table import Table
from rich.text import Text

from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.runner import events
from benchmark.runner.run_folder import RunFolder
from benchmark.store import cache_folder, open_store
from benchmark.study import StudySettings
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare

PIPED_WIDTH = 200


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

    return prepare(study.data, cache, tell)


def print_table(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = ""
) -> None:
    """Print a table: with rules on a terminal, else in plain aligned columns."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Names of files are text: no markup is looked for in them.
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


class TerminalListener:
    """Shows runs as they go: a bar on a terminal, a line for each epoch elsewhere.

    Several runs at a time have lines that begin with the run's name.
    """

    def __init__(self, console: Console, runs: int, workers: int = 1) -> None:
        """`runs` is the length of the plan, `workers` how many go on at a time."""
        self._console = console
        self._runs = runs
        self._workers = workers
        self._numbers: dict[str, int] = {}
        self._bar: _Bar | None = None

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Say that nothing was to be done."""
        self._say(record.spec, f"finished before, skipped ({_result(record)})")

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Say how to try again."""
        text = f"failed before in {failure.stage}: {failure.reason}"
        self._say(failure.spec, f"{text}; --retry-failed tries again", "red")

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Say who has it."""
        self._say(spec, "another bench has this run; it is looked at again at the end")

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """Open the bar of a run."""
        again = ", begun before" if resumed else ""
        self._say(spec, f"{spec.model.mode}, weights {spec.weights.name}{again}")
        if self._console.is_terminal and self._workers == 1:
            self._bar = _Bar(self._console)

    def on_event(self, spec: RunSpec, event: events.Event) -> None:
        """Move the bar, or print the epoch's line."""
        if isinstance(event, events.Note):
            self._tell(spec, event.text)
        elif isinstance(event, events.Resumed):
            steps = f" and {event.steps:,} steps" if event.steps else ""
            self._tell(spec, f"goes on after {event.epochs} epochs{steps}")
        elif self._bar is not None:
            self._bar.show(event)
        elif isinstance(event, events.EpochDone):
            self._tell(spec, _epoch(event))

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Say how the run ended."""
        self._close()
        best = record.training.best_epoch
        seconds = sum(record.stage_seconds.values())
        self._tell(record.spec, f"{_result(record)}, epoch {best}, {seconds:.0f} s in all")

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """Say why, and where the whole story is."""
        self._close()
        self._tell(failure.spec, f"failed in {failure.stage}: {failure.reason}", "red")
        self._tell(failure.spec, f"the log is in {folder.path}")

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Leave the terminal clean."""
        self._close()
        self._tell(spec, f"{spec.name} stopped")

    def on_tick(self) -> None:
        """The bar moves by itself."""

    def _say(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        number = self._numbers.setdefault(spec.run_id, len(self._numbers) + 1)
        line = f"[{number}/{self._runs}] {spec.name}: {text}"
        self._console.print(line, markup=False, style=style)

    def _tell(self, spec: RunSpec, text: str, style: str | None = None) -> None:
        name = f"{spec.name}: " if self._workers > 1 else ""
        self._console.print(f"  {name}{text}", markup=False, style=style)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar:
    """The moving line of one run: stage or epoch, pictures or steps, time left, latest metrics."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("  {task.description:<12}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=console,
            transient=True,
        )
        self._progress.start()
        self._metrics = ""
        self._doing = ""
        self._task = self._new_task("start")

    def show(self, event: events.Event) -> None:
        """Move on; a new stage or epoch starts the bar anew."""
        if isinstance(event, events.EpochDone):
            self._metrics = _epoch(event)
            self._progress.update(self._task, metrics=self._metrics)
        elif isinstance(event, events.StageStarted):
            self._switch(event.stage)
        elif isinstance(event, events.Progress):
            if event.doing != self._doing:
                self._switch(event.doing)
            count = f"{event.done:,}/{event.total:,}"
            self._progress.update(self._task, completed=event.done, total=event.total, count=count)

    def close(self) -> None:
        """Take the line away."""
        self._progress.stop()

    def _switch(self, doing: str) -> None:
        self._progress.remove_task(self._task)
        self._task = self._new_task(doing)

    def _new_task(self, doing: str) -> TaskID:
        self._doing = doing
        return self._progress.add_task(doing, total=None, count="", metrics=self._metrics)


def _epoch(event: events.EpochDone) -> str:
    result = event.result
    return (
        f"epoch {result.epoch}/{event.epochs}: loss {result.train_loss:.3f}, "
        f"valid {100 * result.valid_accuracy:.1f} %, {result.images_per_second:,.0f} images/s"
    )


def _result(record: RunRecord) -> str:
    return f"test accuracy {100 * record.test.accuracy:.2f} %"
