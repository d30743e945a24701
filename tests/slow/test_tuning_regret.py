"""Tuning against an exhaustive grid, and its cost, on real images with pretrained backbones."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from benchmark.config.study import load_study
from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages, open_pixels
from clothclf.data.prepare import prepare
from clothclf.data.splits import SPLITS
from clothclf.models.build import build_classifier
from clothclf.results import Weights
from clothclf.settings import HeadSettings, TrainSettings, TuningSettings
from clothclf.training.loop import Watcher, open_inputs, train
from clothclf.training.tune import tune
from tests.conftest import SHARED

ARCHIVE = SHARED / "data" / "fashion-product-images-small.zip"
RATES = [round(10 ** (power / 2 - 4), 7) for power in range(7)]
MAX_REGRET = 0.005
MAX_COST = 1.3
_Result = TypeVar("_Result")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    """CPU seconds, which other processes do not change much."""
    started = time.process_time()
    return work(), time.process_time() - started


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.exists(), reason="requires the data set beside the repository")
@pytest.mark.parametrize("number", range(3))
def test_tuned_settings_are_nearly_the_best_of_the_grid_and_cheap(number: int, cache: Path) -> None:
    name = f"tf_efficientnet_lite{number}"
    study = load_study(Path("configs/fashion.yaml"), [f"data.path={ARCHIVE}"])
    own, model = study.train, study.model
    data = prepare(study.data, cache)
    pixels = open_pixels(data.pixels, lambda: data.pixels)
    classes = data.summary.classes
    splits = {split: SplitImages.open(data.manifest, classes, pixels, split) for split in SPLITS}
    file = SHARED / "weights" / f"{name}.safetensors"
    weights = Weights("file", file.name, "", file)
    classifier = build_classifier(
        name, HeadSettings(), model, len(classes), 112, weights, 0, "float32"
    )
    images = ImageBatches(
        splits, classifier.normalization, own.augment, own.batch_size, 0, torch.device("cpu")
    )
    inputs, features_s = timed(lambda: open_inputs(classifier, images, Watcher()))
    initial = classifier.trained_state()

    def accuracy(settings: TrainSettings) -> float:
        classifier.load_state_dict(initial, strict=False)
        return train(classifier, images, settings, Watcher(), inputs=inputs).best.valid_accuracy

    untuned, own_s = timed(lambda: accuracy(own))
    classifier.load_state_dict(initial, strict=False)
    (settings, _), tuning_s = timed(
        lambda: tune(classifier, images, own, TuningSettings(trials=12), inputs, Watcher())
    )
    tuned, tuned_s = timed(lambda: accuracy(settings))
    grid = {
        (optimizer, rate): accuracy(
            own.model_copy(update={"optimizer": optimizer, "learning_rate": rate})
        )
        for optimizer in ("sgd", "adamw")
        for rate in RATES
    }
    best = max(grid, key=lambda point: grid[point])
    cost = (features_s + tuning_s + tuned_s) / (features_s + own_s)
    print(f"{name}: untuned {untuned:.4f}, tuned {tuned:.4f}, grid {grid[best]:.4f} at {best}")
    print(f"cost {cost:.2f} of the untuned study")
    assert grid[best] - tuned <= MAX_REGRET
    assert cost <= MAX_COST
