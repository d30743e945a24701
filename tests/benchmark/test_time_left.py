"""What is said of the time that a run and a study will take, and when nothing is said."""

from __future__ import annotations

import math

import pytest

from benchmark.runs.events import Progress, Resumed, Unmeasured
from benchmark.terminal.live_layout import Layout
from benchmark.terminal.progress import StudyProgress
from benchmark.terminal.time_left import RunLeft, StudyLeft, run_left, study_left
from benchmark.text.printable import clock, roughly
from tests.benchmark.examples import make_spec
from tests.benchmark.live_study import Clock, a_plan, epoch, finish, in_training


def study_line(progress: StudyProgress) -> str:
    """The live table's last line."""
    layout = Layout(progress, list(progress.waiting.values()))
    return layout.lines(120, 24)[-1][0][0]


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


def test_a_runs_time_left_follows_its_own_pace() -> None:
    """A quarter in 25 seconds leaves 75, and what comes after it while that is unknown."""
    time, plan = Clock(), a_plan(2)
    progress = StudyProgress(2, 1, time)
    progress.start_plan(plan)
    in_training(progress, time, plan[0])
    run = progress.running[plan[0].name]
    assert run_left(run, progress.evidence, time()) == RunLeft(75.0, more=True)
    time.now += 10
    assert run_left(run, progress.evidence, time()) == RunLeft(65.0, more=True)


def test_a_run_that_goes_on_is_not_credited_with_earlier_epochs() -> None:
    time, (spec,) = Clock(), a_plan(1)
    progress = StudyProgress(1, 1, time)
    progress.start_plan([spec])
    progress.started(spec)
    progress.update(spec, Resumed(epochs=5, steps=0))
    progress.update(spec, Progress(doing="epoch 6/10", done=0, total=100))
    time.now += 10
    progress.update(spec, epoch(6))
    left = run_left(progress.running[spec.name], progress.evidence, time())
    assert left is not None
    assert math.isclose(left.seconds, 40.0)


def test_each_trial_of_tuning_has_a_pace_of_its_own() -> None:
    time, (spec,) = Clock(), a_plan(1)
    progress = StudyProgress(1, 1, time)
    progress.start_plan([spec])
    progress.started(spec)
    for trial, done, seconds in ((1, 1, 0), (1, 8, 40), (2, 1, 0), (2, 3, 10)):
        time.now += seconds
        progress.update(spec, Progress(doing=f"trial {trial}/2", done=done, total=8))
    run = progress.running[spec.name]
    assert run.doing_text() == "trial 2/2, 37 %"
    assert run_left(run, progress.evidence, time()) == RunLeft(25.0, more=True)


def test_nothing_is_said_of_time_that_nothing_is_known_of() -> None:
    """Neither of the first moments of a run, nor of architectures that have not been run."""
    time = Clock()
    plan = [make_spec("resnet18"), make_spec("vgg16")]
    progress = StudyProgress(2, 1, time)
    progress.start_plan(plan)
    progress.started(plan[0])
    run = progress.running[plan[0].name]
    time.now += 30
    assert run_left(run, progress.evidence, time()) is None
    progress.update(plan[0], Progress(doing="features", done=10, total=1000))
    time.now += 1
    progress.update(plan[0], Progress(doing="features", done=20, total=1000))
    assert run_left(run, progress.evidence, time()) is None
    assert study_left(progress) is None
    finish(progress, time, plan[0], 60)
    assert study_left(progress) is None
    assert "left" not in study_line(progress)


def test_seeds_of_what_has_been_run_take_as_long_again() -> None:
    time, plan = Clock(), a_plan(4)
    progress = StudyProgress(4, 1, time)
    progress.start_plan(plan)
    finish(progress, time, plan[0], 100)
    progress.started(plan[1])
    time.now += 30
    assert study_left(progress) == StudyLeft(70 + 200)
    assert "about 5 min left" in study_line(progress)
    time.now += 100  # longer than the first: it may end at any time
    assert study_left(progress) == StudyLeft(200)


def test_two_workers_share_what_is_left() -> None:
    time, plan = Clock(), a_plan(5)
    progress = StudyProgress(5, 2, time)
    progress.start_plan(plan)
    finish(progress, time, plan[0], 100)
    progress.started(plan[1])
    progress.started(plan[2])
    assert study_left(progress) == StudyLeft((100 + 100 + 200) / 2)


@pytest.mark.parametrize(
    ("seconds", "expected"), [((100.0, 110.0, 90.0), 200.0), ((10.0, 20.0, 500.0), None)]
)
def test_unseen_architectures_are_guessed_only_from_ones_that_agree(
    seconds: tuple[float, ...], expected: float | None
) -> None:
    time = Clock()
    plan = [make_spec(f"resnet{n}") for n in range(5)]
    progress = StudyProgress(5, 1, time)
    progress.start_plan(plan)
    for spec, took in zip(plan, seconds, strict=False):
        assert study_left(progress) is None
        finish(progress, time, spec, took)
    left = study_left(progress)
    assert (None if left is None else left.seconds) == expected


def test_runs_that_were_put_off_are_measured_after_all_others() -> None:
    time = Clock()
    plan = [spec.model_copy(update={"measure": True}) for spec in a_plan(3)]
    progress = StudyProgress(3, 2, time)
    progress.start_plan(plan)
    for spec in plan[:2]:
        progress.started(spec)
    time.now += 50
    for spec in plan[:2]:
        progress.update(spec, Unmeasured())
    assert list(progress.unmeasured) == [spec.name for spec in plan[:2]]
    progress.started(plan[2])
    assert study_left(progress) == StudyLeft(50.0, to_measure=3)
    assert "0 of 3 runs done, 2 to be measured" in study_line(progress)
    assert "about 50 s left, then 3 to measure" in study_line(progress)
    progress.update(plan[2], Unmeasured())
    finish(progress, time, plan[0], 20)
    assert study_left(progress) == StudyLeft(40.0)
    assert progress.done == 1
