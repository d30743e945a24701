"""Tuning: the same points for all, short trials, and a training as if nothing had been tried."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from clothclf.errors import InvalidSettingsError, TrainingError, TrainingStopped
from clothclf.models.classifier import Classifier
from clothclf.results import EpochResult, TrainingResult, TuningResult
from clothclf.settings import TrainSettings, TuningSettings
from clothclf.training.loop import Watcher, open_inputs, train
from clothclf.training.tune import tune
from tests.clothclf.training.test_loop import build, feed, recipe

pytestmark = pytest.mark.usefixtures("one_thread")
TUNING = TuningSettings(trials=5, epochs=1)


def settings(**values: object) -> TuningSettings:
    return TuningSettings.model_validate(values)


def tuned(
    classifier: Classifier,
    train_settings: TrainSettings,
    tuning: TuningSettings = TUNING,
    done: TuningResult | None = None,
    watcher: Watcher | None = None,
) -> tuple[TrainSettings, TuningResult, list[TuningResult]]:
    images = feed(classifier)
    stored: list[TuningResult] = []
    inputs = open_inputs(classifier, images, Watcher())
    chosen, result = tune(
        classifier,
        images,
        train_settings,
        tuning,
        inputs,
        watcher or Watcher(),
        stored.append,
        done,
    )
    return chosen, result, stored


def without_time(result: TuningResult) -> TuningResult:
    trials = tuple(
        dataclasses.replace(
            trial, rungs=tuple(dataclasses.replace(rung, seconds=0.0) for rung in trial.rungs)
        )
        for trial in result.trials
    )
    return dataclasses.replace(result, trials=trials)


def figures(training: TrainingResult) -> list[EpochResult]:
    return [
        dataclasses.replace(epoch, seconds=0.0, images_per_second=0.0) for epoch in training.epochs
    ]


def test_all_architectures_try_the_same_points_and_the_own_recipe_first() -> None:
    own, *points = TUNING.points(recipe())
    assert own == recipe()
    assert points == TUNING.points(recipe())[1:]
    assert settings(trials=9).points(recipe())[:5] == [own, *points]  # a larger budget adds some
    assert {point.optimizer for point in points} == {"sgd", "adamw"}
    assert len({point.learning_rate for point in points}) == 4
    assert all(1e-4 <= point.learning_rate <= 1e-1 for point in points)
    assert all(point.epochs == own.epochs and point.augment == own.augment for point in points)


def test_a_range_of_whole_numbers_gives_whole_numbers_within_it() -> None:
    tuning = settings(trials=3, space={"head_epochs": {"low": 0, "high": 2}})
    assert {point.head_epochs for point in tuning.points(recipe())} == {0, 1, 2}


def test_options_of_another_optimizer_are_left_out() -> None:
    own = recipe(optimizer_options={"nesterov": True})
    for point in TUNING.points(own):
        assert bool(point.optimizer_options) == (point.optimizer == "sgd")


@pytest.mark.parametrize(
    ("epochs", "heads_only", "rungs"),
    [
        (10, True, [(6, 3), (3, 6)]),
        (12, True, [(6, 3), (3, 6), (2, 12)]),
        (2, True, [(6, 2)]),
        (10, False, [(6, 1)]),
        (20, False, [(6, 1), (3, 2), (2, 4)]),
        (4, False, [(6, 1)]),
    ],
)
def test_rungs_halve_the_trials_and_whole_networks_train_twice_as_long_at_most(
    epochs: int, heads_only: bool, rungs: list[tuple[int, int]]
) -> None:
    assert TuningSettings().rungs(epochs, heads_only) == rungs
    if not heads_only and epochs >= 6:
        assert TuningSettings().total_epochs(epochs, heads_only) <= epochs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 1}, "trials: input should be greater than or equal to 2, not 1"),
        (
            {"space": {"learning_rat": [0.1]}},
            "space: learning_rat: is no setting of train (did you mean learning_rate",
        ),
        ({"space": {"epochs": [3, 5]}}, "space: epochs: cannot be tuned; all trials share it"),
        (
            {"space": {"learning_rate": {"low": 0.1, "high": 0.01}}},
            "space: learning_rate: low (0.1) must be below high (0.01)",
        ),
        (
            {"space": {"weight_decay": {"low": 0, "high": 0.1, "log": True}}},
            "space: weight_decay: a range with log: true must be above 0, not from 0",
        ),
        (
            {"space": {"learning_rate": {"low": -1, "high": 0.1}}},
            "space: learning_rate: input should be greater than 0, not -1.0",
        ),
        ({"space": {"optimizer": []}}, "space: optimizer: lists no value"),
        (
            {"space": {"learning_rate": 0.1}},
            "space: learning_rate: should be a list of values, or a range {low, high, log}",
        ),
        ({"space": {}}, "space: is empty; name a setting of train"),
    ],
)
def test_a_space_without_a_point_is_refused_in_one_sentence(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidSettingsError) as refused:
        TuningSettings(**values)  # type: ignore[arg-type]
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"TuningSettings: {message}")


def test_points_that_never_fit_together_are_refused() -> None:
    tuning = settings(space={"final_learning_rate": [0.001]})
    with pytest.raises(InvalidSettingsError, match=r"only 0 of 5 .*schedule: constant takes none"):
        tuning.points(recipe())


def test_more_trials_than_the_space_has_points_are_refused() -> None:
    tuning = settings(trials=9, space={"optimizer": ["sgd", "adamw", "lamb"]})
    with pytest.raises(InvalidSettingsError, match=r"only 2 of 8 .*reduce tuning.trials or widen"):
        tuning.points(recipe())


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_the_training_is_as_if_nothing_had_been_tried(mode: str) -> None:
    after = build(mode=mode)
    chosen, result, _ = tuned(after, recipe())
    assert result.gain is not None
    assert result.gain >= 0
    fresh = build(mode=mode)
    expected = train(fresh, feed(fresh), chosen, Watcher())
    assert figures(train(after, feed(after), chosen, Watcher())) == figures(expected)
    assert all(map(torch.equal, after.state_dict().values(), fresh.state_dict().values()))


def test_a_trial_is_a_short_training_with_its_settings() -> None:
    chosen, result, _ = tuned(build(), recipe(), settings(trials=3, epochs=2))
    for point, trial in zip(TUNING.points(recipe()), result.trials, strict=False):
        fresh = build()
        alone = train(fresh, feed(fresh), point.shortened(2), Watcher()).best
        rung = trial.rungs[0]
        assert (rung.valid_accuracy, rung.valid_loss) == (alone.valid_accuracy, alone.valid_loss)
    best = max(
        result.trials,
        key=lambda trial: (trial.rungs[-1].valid_accuracy, -(trial.rungs[-1].valid_loss or 0)),
    )
    assert result.best == best
    assert TUNING.changed(chosen) == best.settings


@pytest.mark.parametrize("after", [1, 4, 6])
def test_tuning_resumes_after_its_last_finished_trial(after: int) -> None:
    _, whole, stored = tuned(build(), recipe())
    steps = []
    watcher = Watcher(on_step=lambda trial, step, total: steps.append(trial))
    _, resumed, more = tuned(build(), recipe(), done=stored[after - 1], watcher=watcher)
    assert without_time(resumed) == without_time(whole)
    assert len(more) == len(stored) - after
    assert min(steps) == after + 1


def test_a_stopped_trial_leaves_no_result() -> None:
    seen = []

    def on_step(trial: int, step: int, total: int) -> None:
        seen.append(trial)

    watcher = Watcher(on_step=on_step, should_stop=lambda: 2 in seen)
    stored: list[TuningResult] = []
    classifier = build()
    images = feed(classifier)
    inputs = open_inputs(classifier, images, Watcher())
    with pytest.raises(TrainingStopped):
        tune(classifier, images, recipe(), TUNING, inputs, watcher, stored.append)
    assert [len(trial.rungs) for trial in stored[-1].trials] == [1, 0, 0, 0, 0]


def test_settings_that_diverge_lose_and_do_not_end_the_run() -> None:
    space = {"learning_rate": [1e30, 1e31]}
    chosen, result, _ = tuned(
        build(mode="finetune"), recipe(), settings(trials=2, epochs=1, space=space)
    )
    assert chosen == recipe()
    assert "not finite" in result.trials[1].rungs[0].error
    with pytest.raises(TrainingError, match=r"every trial of tuning failed: .*not finite"):
        tuned(
            build(mode="finetune"),
            recipe(learning_rate=1e30),
            settings(trials=2, epochs=1, space=space),
        )


def test_trials_reuse_the_features(tmp_path: Path) -> None:
    classifier = build(mode="frozen")
    images = feed(classifier)
    passes: list[int] = []
    watcher = Watcher(on_features=lambda done, total: passes.append(done))
    inputs = open_inputs(classifier, images, watcher, tmp_path)
    count = len(passes)
    assert count
    chosen, _ = tune(classifier, images, recipe(), TUNING, inputs, watcher)
    training = train(classifier, images, chosen, watcher, tmp_path, inputs=inputs)
    assert len(passes) == count
    assert training.route == "features"
    assert training.seconds >= inputs.seconds
