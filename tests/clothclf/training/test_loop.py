"""Training loop: equal on features and images, reproducible, with early stopping."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages
from clothclf.errors import TrainingError
from clothclf.models.build import build_classifier
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures
from clothclf.models.load_weights import state_hash
from clothclf.models.weights import RANDOM
from clothclf.results import EpochResult, TrainingResult
from clothclf.settings import AugmentSettings, HeadSettings, ModelSettings, TrainSettings
from clothclf.training.evaluate import evaluate
from clothclf.training.loop import Watcher, train
from clothclf.training.predict import predict

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32
BACKBONE = "test_resnet"
CPU = torch.device("cpu")


def split(count: int, seed: int) -> SplitImages:
    """Noise images with a patch whose position is the class; learnable in a few epochs."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 200, (count, SIZE, SIZE, 3), dtype=np.uint8)
    targets = np.arange(count, dtype=np.int64) % 3
    for image, target in zip(pixels, targets, strict=True):
        image[10 * target : 10 * target + 10] //= 3
    return SplitImages([f"{n}" for n in range(count)], targets, np.arange(count), pixels)


SPLITS = {"train": split(70, 0), "valid": split(30, 1), "test": split(30, 2)}


def build(
    head: HeadSettings | None = None, backbone: str = BACKBONE, **options: object
) -> Classifier:
    model = ModelSettings.model_validate({"weights": "none", **options})
    return build_classifier(backbone, head or HeadSettings(), model, 3, SIZE, RANDOM, 0)


def feed(
    classifier: Classifier, seed: int = 0, device: torch.device = CPU, **augment: object
) -> ImageBatches:
    settings = AugmentSettings.model_validate(augment)
    return ImageBatches(SPLITS, classifier.normalization, settings, 16, seed, device)


def recipe(**options: object) -> TrainSettings:
    return TrainSettings.model_validate({"epochs": 3, "learning_rate": 0.05, **options})


class OnImages(Classifier):
    """Classifier whose features are not cached: the backbone runs every epoch."""

    def backbone_is_deterministic(self) -> bool:
        return False


def numbers(result: TrainingResult) -> list[tuple[float, ...]]:
    """All results of a training except times."""
    return [
        (e.train_loss, e.train_accuracy, e.valid_loss, e.valid_accuracy, e.learning_rate)
        for e in result.epochs
    ]


@pytest.mark.parametrize("horizontal_flip", [False, True])
@pytest.mark.parametrize("backbone", [BACKBONE, "test_efficientnet"])
def test_cached_features_train_the_head_as_images_do(backbone: str, horizontal_flip: bool) -> None:
    """With one and two views, a hidden layer, dropout and momentum: equal weights to 1e-4."""
    head = HeadSettings(hidden=8, dropout=0.3)
    options = {"backbone": backbone, "standardize_features": True}
    cached, plain = build(head, **options), build(head, **options)
    plain.__class__ = OnImages
    results = [
        train(model, feed(model, horizontal_flip=horizontal_flip), recipe(), Watcher())
        for model in (cached, plain)
    ]
    assert [result.route for result in results] == ["features", "images"]
    plain_state = plain.state_dict()
    start = build(head, **options).state_dict()
    moved = 0.0
    for name, value in cached.state_dict().items():
        assert (value - plain_state[name]).abs().max() < 1e-4, name
        moved = max(moved, float((value - start[name]).abs().max()))
    assert moved > 0.01
    assert np.allclose(numbers(results[0]), numbers(results[1]), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "augment", "route"),
    [
        ({}, {}, "features"),
        ({}, {"crop_padding": 2}, "images"),
        ({"batch_norm": "drifting"}, {}, "images"),
        ({"mode": "finetune"}, {}, "images"),
    ],
)
def test_the_backbone_runs_once_only_where_that_is_the_same(
    options: dict[str, object], augment: dict[str, object], route: str
) -> None:
    classifier = build(**options)
    result = train(classifier, feed(classifier, **augment), recipe(epochs=1), Watcher())
    assert result.route == route


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_the_same_seed_gives_the_same_figures_bit_for_bit(mode: str) -> None:
    """Independent of the global generators' state; another seed gives other results."""

    def run(seed: int) -> tuple[list[tuple[float, ...]], str]:
        torch.rand(int(torch.randint(1, 9, ())))
        classifier = build(HeadSettings(dropout=0.3), mode=mode)
        result = train(classifier, feed(classifier, seed), recipe(epochs=2), Watcher())
        return numbers(result), state_hash(classifier)

    first = run(0)
    assert run(0) == first
    other = run(1)
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_features_are_those_of_each_view_in_order() -> None:
    """Original, flipped and validation images; progress ends at the total."""
    classifier = build()
    images = feed(classifier)
    result: list[tuple[int, int]] = []
    features = BackboneFeatures(classifier, images, None).batches(
        lambda done, total: result.append((done, total))
    )
    classifier.eval()
    with torch.no_grad():
        for view, flip in enumerate((False, True)):
            inputs = torch.cat([p for p, _ in images.in_order("train", flip)])
            assert torch.allclose(features.views[view], classifier.backbone(inputs), atol=1e-5)
        valid = torch.cat([p for p, _ in images.in_order("valid")])
        held_out, targets = next(features.held_out("valid"))
        assert torch.allclose(held_out, classifier.backbone(valid), atol=1e-5)
    assert np.array_equal(targets, SPLITS["valid"].targets)
    assert result[-1] == (170, 170)
    assert [done for done, _ in result] == sorted(done for done, _ in result)
    with pytest.raises(ValueError, match="a few distinct views"):
        BackboneFeatures(classifier, feed(classifier, crop_padding=1), None).batches()


def test_training_that_reads_cached_features_knows_what_they_took(tmp_path: Path) -> None:
    """`seconds` is short; `full_seconds` is that of a training without cache."""
    first, second = (
        train(classifier, feed(classifier), recipe(), Watcher(), cache=tmp_path)
        for classifier in (build(), build())
    )
    assert first.reused_seconds == 0
    result = [json.loads(path.read_text())["seconds"] for path in tmp_path.rglob("features.json")]
    assert len(result) == 2
    assert second.reused_seconds == pytest.approx(sum(result))
    assert second.full_seconds == second.seconds + sum(result) > second.seconds
    for path in tmp_path.rglob("features.json"):  # as they were written before it was known
        result = json.loads(path.read_text())
        path.write_text(json.dumps({key: result[key] for key in result if key != "seconds"}))
    classifier = build()
    third = train(classifier, feed(classifier), recipe(), Watcher(), cache=tmp_path)
    assert third.reused_seconds is None
    assert third.full_seconds == third.seconds
    assert numbers(first) == numbers(second) == numbers(third)


def test_the_watcher_hears_of_every_step_and_epoch() -> None:
    classifier = build()
    steps: list[tuple[int, int, int]] = []
    epochs: list[EpochResult] = []
    watcher = Watcher(on_step=lambda *step: steps.append(step), on_epoch=epochs.append)
    result = train(classifier, feed(classifier), recipe(epochs=2), watcher)
    assert steps == [(epoch, step, 5) for epoch in (1, 2) for step in range(1, 6)]
    assert tuple(epochs) == result.epochs
    assert all(epoch.seconds > 0 and epoch.images_per_second > 0 for epoch in epochs)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_training_stops_when_validation_stops_falling_and_keeps_the_best(mode: str) -> None:
    """With a rate that is too large, training stops `patience` epochs after the best one."""
    classifier = build(mode=mode)
    images = feed(classifier)
    settings = recipe(epochs=40, patience=3, learning_rate=0.3, momentum=0.95)
    result = train(classifier, images, settings, Watcher())
    losses = [epoch.valid_loss for epoch in result.epochs]
    assert result.stopped_early
    assert len(losses) == result.best_epoch + 3 < 40
    assert result.best.valid_loss == min(losses)
    assert losses.index(min(losses)) + 1 == result.best_epoch
    again = evaluate(predict(classifier, images, "valid"), ("a", "b", "c"))
    assert again.metrics["loss"] == pytest.approx(result.best.valid_loss, abs=1e-4)
    assert again.accuracy == pytest.approx(result.best.valid_accuracy)


def test_without_patience_all_epochs_run() -> None:
    classifier = build()
    settings = recipe(epochs=12, learning_rate=0.3, momentum=0.95)
    result = train(classifier, feed(classifier), settings, Watcher())
    assert len(result.epochs) == 12
    assert not result.stopped_early
    assert [epoch.epoch for epoch in result.epochs] == list(range(1, 13))


def test_learning_rates_are_those_of_the_schedule() -> None:
    """Constant, or half a cosine over all steps; each epoch reports its last rate."""
    classifier = build()

    def rates(schedule: str) -> list[float]:
        settings = recipe(epochs=4, schedule=schedule, learning_rate=0.1)
        result = train(classifier, feed(classifier), settings, Watcher())
        return [epoch.learning_rate for epoch in result.epochs]

    assert rates("constant") == [0.1] * 4
    last_steps = [5 * epoch - 1 for epoch in (1, 2, 3, 4)]
    cosine = [0.05 * (1 + math.cos(math.pi * step / 20)) for step in last_steps]
    assert rates("cosine") == pytest.approx(cosine, rel=1e-9)


def test_one_epoch_of_steps_is_plain_sgd() -> None:
    """Equals a manual SGD with momentum, weight decay and cosine on the same batches."""
    settings = recipe(epochs=1, schedule="cosine", weight_decay=0.01)
    classifier, reference = build(), build()
    images = feed(classifier)
    result = train(classifier, images, settings, Watcher())
    weight, bias = (p.detach().clone() for p in reference.head.parameters())
    pace = [torch.zeros_like(weight), torch.zeros_like(bias)]
    losses = []
    for step, (inputs, targets) in enumerate(images.train(1)):
        rate = 0.05 * 0.5 * (1 + math.cos(math.pi * step / 5))
        with torch.no_grad():
            features = reference.eval().backbone(inputs)
            scores = features @ weight.T + bias
            losses.append(torch.nn.functional.cross_entropy(scores, targets, reduction="sum"))
            error = scores.softmax(1) - torch.nn.functional.one_hot(targets, 3)
            slopes = [error.T @ features / len(targets), error.mean(0)]
            for number, value in enumerate((weight, bias)):
                pace[number] = 0.9 * pace[number] + slopes[number] + 0.01 * value
                value -= rate * pace[number]
    assert torch.allclose(classifier.head[-1].weight, weight, atol=1e-5)
    assert torch.allclose(classifier.head[-1].bias, bias, atol=1e-5)
    assert result.epochs[0].train_loss == pytest.approx(float(sum(losses)) / 70, abs=1e-5)


def test_a_loss_that_explodes_is_reported_with_step_and_epoch() -> None:
    classifier = build(HeadSettings(hidden=8), standardize_features=True)
    with pytest.raises(TrainingError, match=r"from step \d+ of epoch \d+; lower train.learning_r"):
        train(classifier, feed(classifier), recipe(learning_rate=1e25), Watcher())


def test_features_that_are_not_finite_are_not_blamed_on_the_rate() -> None:
    classifier = build()
    next(classifier.backbone.parameters()).data[0] = float("nan")
    with pytest.raises(TrainingError, match=r"step 1 of epoch 1; .* check model\.weights"):
        train(classifier, feed(classifier), recipe(), Watcher())


def test_a_validation_loss_that_explodes_is_reported_with_its_epoch() -> None:
    """The training loss is computed before each step, so that one step leaves it finite."""
    classifier = build()
    images = ImageBatches(SPLITS, classifier.normalization, AugmentSettings(), 70, 0, CPU)
    with pytest.raises(TrainingError, match=r"validation loss is not finite after epoch \d"):
        train(classifier, images, recipe(learning_rate=1e38), Watcher())


@pytest.mark.parametrize("options", [{"standardize_features": True}, {"mode": "finetune"}])
def test_training_teaches(options: dict[str, object]) -> None:
    classifier = build(HeadSettings(), **options)
    images = feed(classifier)
    train(classifier, images, recipe(epochs=8, learning_rate=0.03), Watcher())
    test = evaluate(predict(classifier, images, "test"), ("a", "b", "c"))
    assert test.accuracy > 0.6
