"""The live table's lines for plans and terminals of any size, and what it says of time."""

from __future__ import annotations

import io
import itertools
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from benchmark.live_layout import Layout, Line
from benchmark.plan import RunSpec
from benchmark.record import RunRecord
from benchmark.runner.events import EpochDone, Progress, Resumed, StageStarted, Unmeasured
from benchmark.runner.run_folder import RunFolder
from benchmark.study_progress import StudyProgress
from benchmark.terminal import TerminalListener
from benchmark.terminal_text import clock, printable, roughly, shorten
from benchmark.time_left import RunLeft, StudyLeft, run_left, study_left
from clothclf.results import EpochResult, Weights
from clothclf.settings import TrainSettings
from tests.benchmark.examples import make_record, make_spec

LONGEST = "vit_base_patch16_clip_quickgelu_224_with_a_long_name"


class Clock:
    """Time that goes on only where a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_plan(count: int, architecture: str = "efficientnet_b0") -> list[RunSpec]:
    weights = Weights("pretrained", "timm/efficientnet_b0.ra_in1k", "0" * 64, None)
    return [make_spec(architecture, seed, weights=weights) for seed in range(count)]


def epoch(number: int, of: int = 10, accuracy: float = 0.841) -> EpochDone:
    return EpochDone(
        result=EpochResult(number, 0.51234, 0.8, 0.6, accuracy, 0.001, 12.0, 1234.5), epochs=of
    )


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def in_training(progress: StudyProgress, clock: Clock, spec: RunSpec) -> None:
    """Two epochs of ten in 20 seconds, and half of the third."""
    progress.started(spec)
    progress.hear(spec, StageStarted(stage="train"))
    progress.hear(spec, Progress(doing="epoch 1/10", done=0, total=100))
    clock.now += 20
    progress.hear(spec, epoch(1))
    progress.hear(spec, epoch(2))
    clock.now += 5
    progress.hear(spec, Progress(doing="epoch 3/10", done=50, total=100))


@pytest.mark.parametrize("architecture", ["efficientnet_b0", LONGEST])
@pytest.mark.parametrize("count", [1, 4, 50, 500])
@pytest.mark.parametrize("workers", [1, 2, 16])
def test_no_line_is_cut_or_too_long_and_the_running_are_there(
    architecture: str, count: int, workers: int
) -> None:
    time = Clock()
    progress = StudyProgress(count, workers, time)
    plan = a_plan(count, architecture)
    progress.begin(plan)
    for spec in plan[:workers]:
        in_training(progress, time, spec)
    layout = Layout(progress, plan)
    for width, height in itertools.product(range(80, 201), (8, 24, 60)):
        lines = text_of(layout.lines(width, height))
        assert len(lines) < height
        assert all(cell_len(line) < width for line in lines)
        rows = [line for line in lines if "epoch 3/10" in line]
        assert len(rows) == min(workers, count) or any("more that go on" in line for line in lines)
        for row in rows:
            assert re.search(r"25 % .* 84\.1 % .* \d+:\d\d +\d+:\d\d \+", row)
        assert f"0 of {count} runs done; " in lines[-1]


def test_narrow_terminals_have_fewer_columns_and_wide_ones_all() -> None:
    time, plan = Clock(), a_plan(3)
    progress = StudyProgress(3, 1, time)
    progress.begin(plan)
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
    found = text_of(Layout(progress, plan).lines(200, 24))[1]
    for cell in ("0.512", "1,234", "timm/efficientnet_b0.ra_in1k", "━━", "──"):
        assert cell in found


@pytest.mark.parametrize(("height", "shown"), [(24, 8), (12, 7), (8, 3), (5, 0)])
def test_the_next_runs_are_shown_and_the_rest_counted(height: int, shown: int) -> None:
    time, plan = Clock(), a_plan(500)
    progress = StudyProgress(500, 1, time)
    progress.begin(plan)
    in_training(progress, time, plan[0])
    lines = text_of(Layout(progress, plan).lines(100, height))
    waiting = [line for line in lines if "waiting" in line]
    assert [line.split()[0] for line in waiting] == [spec.name for spec in plan[1 : 1 + shown]]
    assert lines[-2].strip() == f"and {499 - shown} more"


def test_a_plan_that_fits_is_shown_whole() -> None:
    time, plan = Clock(), a_plan(10)
    progress = StudyProgress(10, 1, time)
    progress.begin(plan)
    in_training(progress, time, plan[0])
    lines = text_of(Layout(progress, plan).lines(100, 24))
    assert sum("waiting" in line for line in lines) == 9
    assert not any("more" in line for line in lines)


def test_a_long_name_keeps_its_seed() -> None:
    name = f"{LONGEST}-h512-s12"
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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.9, "0:59"),
        (725, "12:05"),
        (3600, "1:00:00"),
        (35_999, "9:59:59"),
        (36_000, "10h 00m"),
        (359_999, "99h 59m"),
        (360_000, "4d 04h"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert clock(seconds) == text
    assert len(text) <= 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1, "5 s"),
        (41, "45 s"),
        (55, "55 s"),
        (56, "1 min"),
        (61, "2 min"),
        (3540, "59 min"),
        (3541, "1 h"),
        (4700, "1 h 20 min"),
        (90_000, "25 h"),
    ],
)
def test_times_to_come_are_rough(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


def finish(progress: StudyProgress, time: Clock, spec: RunSpec, seconds: float) -> RunRecord:
    progress.started(spec)
    time.now += seconds
    record = make_record(spec, 0.8)
    record = record.model_copy(update={"stage_seconds": {"train": seconds - 3, "evaluate": 2.0}})
    progress.finished(record)
    return record


def test_a_runs_time_left_follows_its_own_pace() -> None:
    """A quarter in 25 seconds leaves 75, and what comes after it while that is unknown."""
    time, plan = Clock(), a_plan(2)
    progress = StudyProgress(2, 1, time)
    progress.begin(plan)
    in_training(progress, time, plan[0])
    run = progress.running[plan[0].name]
    assert run_left(run, progress.evidence, time()) == RunLeft(75.0, more=True)
    time.now += 10
    assert run_left(run, progress.evidence, time()) == RunLeft(65.0, more=True)


def test_a_run_that_goes_on_is_not_credited_with_earlier_epochs() -> None:
    time, (spec,) = Clock(), a_plan(1)
    progress = StudyProgress(1, 1, time)
    progress.begin([spec])
    progress.started(spec)
    progress.hear(spec, Resumed(epochs=5, steps=0))
    progress.hear(spec, Progress(doing="epoch 6/10", done=0, total=100))
    time.now += 10
    progress.hear(spec, epoch(6))
    left = run_left(progress.running[spec.name], progress.evidence, time())
    assert left is not None
    assert math.isclose(left.seconds, 40.0)


def test_nothing_is_said_of_time_that_nothing_is_known_of() -> None:
    """Neither of the first moments of a run, nor of architectures that have not been run."""
    time = Clock()
    plan = [make_spec("resnet18"), make_spec("vgg16")]
    progress = StudyProgress(2, 1, time)
    progress.begin(plan)
    progress.started(plan[0])
    run = progress.running[plan[0].name]
    time.now += 30
    assert run_left(run, progress.evidence, time()) is None
    progress.hear(plan[0], Progress(doing="features", done=10, total=1000))
    time.now += 1
    progress.hear(plan[0], Progress(doing="features", done=20, total=1000))
    assert run_left(run, progress.evidence, time()) is None
    assert study_left(progress) is None
    finish(progress, time, plan[0], 60)
    assert study_left(progress) is None
    assert "left" not in text_of(Layout(progress, plan).lines(120, 24))[-1]


def test_seeds_of_what_has_been_run_take_as_long_again() -> None:
    time, plan = Clock(), a_plan(4)
    progress = StudyProgress(4, 1, time)
    progress.begin(plan)
    finish(progress, time, plan[0], 100)
    progress.started(plan[1])
    time.now += 30
    assert study_left(progress) == StudyLeft(70 + 200)
    assert "about 5 min left" in text_of(Layout(progress, plan).lines(120, 24))[-1]
    time.now += 100  # longer than the first: it may end at any time
    assert study_left(progress) == StudyLeft(200)


def test_two_workers_share_what_is_left() -> None:
    time, plan = Clock(), a_plan(5)
    progress = StudyProgress(5, 2, time)
    progress.begin(plan)
    finish(progress, time, plan[0], 100)
    progress.started(plan[1])
    progress.started(plan[2])
    assert study_left(progress) == StudyLeft((100 + 100 + 200) / 2)


@pytest.mark.parametrize(
    ("seconds", "told"), [((100.0, 110.0, 90.0), 200.0), ((10.0, 20.0, 500.0), None)]
)
def test_unseen_architectures_are_guessed_only_from_ones_that_agree(
    seconds: tuple[float, ...], told: float | None
) -> None:
    time = Clock()
    plan = [make_spec(f"resnet{n}") for n in range(5)]
    progress = StudyProgress(5, 1, time)
    progress.begin(plan)
    for spec, took in zip(plan, seconds, strict=False):
        assert study_left(progress) is None
        finish(progress, time, spec, took)
    left = study_left(progress)
    assert (None if left is None else left.seconds) == told


def test_runs_that_were_put_off_are_measured_after_all_others() -> None:
    time = Clock()
    plan = [spec.model_copy(update={"measure": True}) for spec in a_plan(3)]
    progress = StudyProgress(3, 2, time)
    progress.begin(plan)
    for spec in plan[:2]:
        progress.started(spec)
    time.now += 50
    for spec in plan[:2]:
        progress.hear(spec, Unmeasured())
    assert list(progress.unmeasured) == [spec.name for spec in plan[:2]]
    progress.started(plan[2])
    assert study_left(progress) == StudyLeft(50.0, to_measure=3)
    lines = text_of(Layout(progress, plan).lines(120, 24))
    assert "0 of 3 runs done, 2 to be measured" in lines[-1]
    assert "about 50 s left, then 3 to measure" in lines[-1]
    progress.hear(plan[2], Unmeasured())
    finish(progress, time, plan[0], 20)
    assert study_left(progress) == StudyLeft(40.0)
    assert progress.done == 1


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


def test_a_figure_is_never_cut() -> None:
    """The largest that settings allow still have room."""
    time = Clock()
    spec = make_spec(train=TrainSettings(epochs=10_000))
    progress = StudyProgress(1, 1, time)
    progress.begin([spec])
    progress.started(spec)
    time.now += 500_000
    progress.hear(spec, Progress(doing="epoch 10000/10000", done=99, total=100))
    result = EpochResult(9999, 1e30, 1.0, 1e30, 1.0, 0.001, 12.0, 9_999_999.0)
    progress.hear(spec, EpochDone(result=result, epochs=10_000))
    row = text_of(Layout(progress, [spec]).lines(160, 24))[1]
    for cell in ("epoch 10000/10000", "99 %", "100.0 %", "1.0e+30", "9,999,999", "5d 18h"):
        assert f" {cell}" in row
