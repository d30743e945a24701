"""The live table's lines for plans and terminals of any size."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from benchmark.runs.events import EpochDone, Progress, Waiting
from benchmark.runs.run_folder import RunFolder
from benchmark.terminal.live_layout import Layout, Line
from benchmark.terminal.output import TerminalListener
from benchmark.terminal.progress import StudyProgress
from benchmark.text.printable import printable, shorten
from clothclf.results import EpochResult
from clothclf.settings import TrainSettings
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.live_study import Clock, a_plan, epoch, in_training

MAX_LENGTH = "vit_base_patch16_clip_quickgelu_224_with_a_long_name"


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


@pytest.mark.parametrize("architecture", ["efficientnet_b0", MAX_LENGTH])
@pytest.mark.parametrize("count", [1, 4, 50, 500])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_no_line_is_cut_or_too_long_and_the_running_are_there(
    architecture: str, count: int, workers: int
) -> None:
    time = Clock()
    progress = StudyProgress(count, workers, time)
    plan = a_plan(count, architecture)
    progress.start_plan(plan)
    for spec in plan[:workers]:
        in_training(progress, time, spec)
    layout = Layout(progress, plan)
    for width, height in itertools.product(range(80, 201), (8, 24, 60)):
        lines = text_of(layout.lines(width, height))
        assert len(lines) < height
        assert all(cell_len(line) < width for line in lines)
        rows = [line for line in lines if "epoch 3/10" in line]
        assert len(rows) == min(workers, count) or any("more running" in line for line in lines)
        for row in rows:
            assert re.search(r"25 % .* 84\.1 % .* \d+:\d\d +\d+:\d\d \+", row)
        assert f"0 of {count} runs done; " in lines[-1]


def test_narrow_terminals_have_fewer_columns_and_wide_ones_all() -> None:
    time, plan = Clock(), a_plan(3)
    progress = StudyProgress(3, 1, time)
    progress.start_plan(plan)
    in_training(progress, time, plan[0])
    titles = {
        width: text_of(Layout(progress, plan).lines(width, 24))[0].split()
        for width in (32, 54, 80, 100, 120, 200)
    }
    assert titles[32] == ["run", "state"]
    assert titles[54] == ["run", "state", "valid", "left"]
    assert titles[80] == ["run", "state", "done", "valid", "time", "left"]
    assert titles[120] == ["run", "state", "done", "valid", "loss", "images/s", "time", "left"]
    assert titles[200] == [*titles[120], "weights"]
    result = text_of(Layout(progress, plan).lines(200, 24))[1]
    for cell in ("0.512", "1,234", "timm/efficientnet_b0.ra_in1k", "━━", "──"):
        assert cell in result


@pytest.mark.parametrize(("height", "shown"), [(24, 8), (12, 7), (8, 3), (5, 0)])
def test_the_next_runs_are_shown_and_the_rest_counted(height: int, shown: int) -> None:
    time, plan = Clock(), a_plan(500)
    progress = StudyProgress(500, 1, time)
    progress.start_plan(plan)
    in_training(progress, time, plan[0])
    lines = text_of(Layout(progress, plan).lines(100, height))
    waiting = [line for line in lines if "waiting" in line]
    assert [line.split()[0] for line in waiting] == [spec.name for spec in plan[1 : 1 + shown]]
    assert lines[-2].strip() == f"and {499 - shown} more"


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_next_run_says_what_it_waits_for(width: int, workers: int) -> None:
    """With one worker, every run waits for the one before it."""
    time, plan = Clock(), a_plan(4)
    progress = StudyProgress(4, workers, time)
    progress.start_plan(plan)
    in_training(progress, time, plan[0])
    progress.update(plan[1], Waiting(reason="2,415 MiB of memory, 1,024 free"))
    lines = text_of(Layout(progress, plan).lines(width, 24))
    waiting = [line for line in lines if "waiting" in line]
    assert len(waiting) == 3
    assert [("waiting for 2,415 MiB" in line) for line in waiting] == [
        workers > 1,
        False,
        False,
    ]
    assert width < 80 or workers == 1 or waiting[0].endswith("of memory, 1,024 free")
    assert all(cell_len(line) < width for line in lines)


def test_a_plan_that_fits_is_shown_whole() -> None:
    time, plan = Clock(), a_plan(10)
    progress = StudyProgress(10, 1, time)
    progress.start_plan(plan)
    in_training(progress, time, plan[0])
    lines = text_of(Layout(progress, plan).lines(100, 24))
    assert sum("waiting" in line for line in lines) == 9
    assert not any("more" in line for line in lines)


def test_a_long_name_keeps_its_seed() -> None:
    name = f"{MAX_LENGTH}-h512-s12"
    for width in range(12, len(name) + 2):
        cut = shorten(name, width)
        assert cell_len(cut) <= width
        assert cut.endswith("-s12") or width < 16
        assert cut == name or "…" in cut
    assert shorten(name, 20, "...").isascii()


@given(st.text(max_size=60), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_no_text_is_wider_than_it_may_be(text: str, width: int) -> None:
    cut = shorten(printable(text), width)
    assert cell_len(cut) <= width
    assert cut.isprintable()


class Screen(io.StringIO):
    """Takes text as a terminal would."""

    def isatty(self) -> bool:
        return True


def test_a_name_is_text() -> None:
    """Neither rich's markup nor a terminal's codes are looked for in it."""
    screen = Screen()
    console = Console(file=screen, width=100, height=20, force_terminal=True)
    spec = make_spec("[red]x[/red]\x1b[2J")
    listener = TerminalListener(console, 1)
    with listener.on_study([spec]):
        listener.on_started(RunFolder(Path("a")), spec, False)
        listener.on_finished(RunFolder(Path("a")), make_record(spec, 0.5))
    shown = screen.getvalue()
    assert "[red]x[/red]\\x1b[2J-s0" in re.split("state .*\n", shown)[1]
    assert "[red]x[/red]\\x1b[2J-s0: test accuracy 50.00 %" in shown
    assert "\x1b[2J" not in shown
    assert shown.rstrip().endswith("\x1b[2K")
    assert shown.index("\x1b[?25l") < shown.index("\x1b[?25h")


@pytest.mark.parametrize(("cached", "shown"), [(False, True), (True, False)])
def test_a_head_on_cached_features_has_no_speed(cached: bool, shown: bool) -> None:
    """Thousands of images a second would be taken for the network's."""
    spec = make_spec()
    progress = StudyProgress(1, 1, Clock())
    progress.start_plan([spec])
    progress.started(spec)
    progress.update(spec, epoch(1).model_copy(update={"cached_features": cached}))
    row = text_of(Layout(progress, [spec]).lines(160, 24))[1]
    assert ("1,234" in row) == shown


def test_a_figure_is_never_cut() -> None:
    """The largest that settings allow still have room."""
    time = Clock()
    spec = make_spec(train=TrainSettings(epochs=10_000))
    progress = StudyProgress(1, 1, time)
    progress.start_plan([spec])
    progress.started(spec)
    time.now += 500_000
    progress.update(spec, Progress(doing="epoch 10000/10000", done=99, total=100))
    result = EpochResult(9999, 1e30, 1.0, 1e30, 1.0, 0.001, 12.0, 9_999_999.0)
    progress.update(spec, EpochDone(result=result, epochs=10_000))
    row = text_of(Layout(progress, [spec]).lines(160, 24))[1]
    for cell in ("epoch 10000/10000", "99 %", "100.0 %", "1.0e+30", "9,999,999", "5d 18h"):
        assert f" {cell}" in row
