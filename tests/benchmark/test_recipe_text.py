"""What a report and MLflow say of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.text.recipe_text import augment_words, label_words, optimizer_words
from clothclf.settings import AugmentSettings, EmaSettings, TrainSettings


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"mixup": 0.2}, ["mixup 0.2"]),
        ({"mixup": 0.2, "cutmix": 1.0}, ["mixup 0.2 or CutMix 1"]),
        ({"cutmix": 1.0, "mix_probability": 0.5}, ["CutMix 1 in 50% of batches"]),
        (
            {"mixup": 0.2, "cutmix": 1.0, "mix_probability": 0.5, "random_erasing": 0.1},
            ["random erasing 0.1", "mixup 0.2 or CutMix 1 in 50% of batches"],
        ),
    ],
)
def test_a_mixed_batch_gets_one_of_the_two(given: dict[str, Any], expected: list[str]) -> None:
    assert augment_words(AugmentSettings(**given)) == expected


def test_what_is_beyond_the_plainest_recipe_is_reported() -> None:
    assert optimizer_words(TrainSettings()) == label_words(TrainSettings()) == []
    train = TrainSettings(
        decay_norms_and_biases=False, label_smoothing=0.1, ema=EmaSettings(decay=0.999)
    )
    assert optimizer_words(train) == ["no weight decay on norms and biases"]
    assert label_words(train) == ["label smoothing 0.1", "EMA decay 0.999"]
