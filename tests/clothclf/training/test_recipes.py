"""Recipe options: each equals its definition, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages
from clothclf.errors import TrainingStopped
from clothclf.models.classifier import Classifier
from clothclf.models.load_weights import state_hash
from clothclf.results import TrainingResult
from clothclf.settings import AugmentSettings, EmaSettings, HeadSettings
from clothclf.training.average import Average
from clothclf.training.loop import Watcher, train
from clothclf.training.objective import Objective, balanced_weights, make_objective
from clothclf.training.optimizer import make_optimizer
from clothclf.training.predict import predict
from clothclf.training.step import EagerStep
from clothclf.training.step_times import probe_training
from tests.clothclf.training.test_loop import CPU, SPLITS, build, feed, numbers, recipe

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 5
"""Of an epoch; the recipes have two."""

EVERYTHING: dict[str, Any] = {
    "optimizer": "adamw",
    "optimizer_options": {"betas": [0.9, 0.98]},
    "learning_rate": 0.003,
    "weight_decay": 0.05,
    "decay_norms_and_biases": False,
    "layer_decay": 0.7,
    "schedule": "onecycle",
    "head_epochs": 1,
    "clip_grad_norm": 1.0,
    "ema": {"decay": 0.9},
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "augment": {
        "random_resized_crop": 0.5,
        "rand_augment": "rand-m9-mstd0.5",
        "random_erasing": 0.25,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}
RESUMED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "everything": (EVERYTHING, {"mode": "finetune"}),
    "adamw": ({"optimizer": "adamw", "learning_rate": 0.01}, {"mode": "finetune"}),
    "lamb": ({"optimizer": "lamb", "learning_rate": 0.01}, {"mode": "finetune"}),
    "average": ({"ema": {"decay": 0.9}}, {"mode": "finetune"}),
    "average of a head": ({"ema": {"decay": 0.9}}, {"standardize_features": True}),
    "average of a head on images": (
        {"ema": {"decay": 0.9}, "augment": {"mixup": 0.2}},
        {"standardize_features": True},
    ),
    "head epochs": ({"head_epochs": 1, "layer_decay": 0.7}, {"mode": "finetune"}),
    "rand augment": ({"augment": {"rand_augment": "rand-m9-mstd0.5"}}, {"mode": "finetune"}),
    "cutmix": ({"augment": {"cutmix": 1.0}}, {"mode": "finetune"}),
    "balanced sampling": ({"sampling": "balanced"}, {"standardize_features": True}),
}


def prepared(options: dict[str, Any], classifier: Classifier) -> tuple[ImageBatches, Any]:
    settings = recipe(epochs=2, **options) if "epochs" not in options else recipe(**options)
    images = feed(classifier, **settings.augment.model_dump())
    images.sampling = settings.sampling
    return images, settings


def go(
    options: dict[str, Any], model: dict[str, Any], folder: Path, stop_after: int | None = None
) -> tuple[TrainingResult, str] | None:
    """Train or resume; returns None if it was stopped after a number of steps."""
    steps = 0

    def on_step(epoch: int, step: int, of: int) -> None:
        nonlocal steps
        steps += 1

    torch.rand(3)
    np.random.rand(3)
    classifier = build(HeadSettings(hidden=4, dropout=0.3), **model)
    images, settings = prepared(options, classifier)
    watcher = Watcher(on_step=on_step, should_stop=lambda: steps == stop_after)
    try:
        result = train(classifier, images, settings, watcher, checkpoints=folder)
    except TrainingStopped:
        return None
    return result, state_hash(classifier)


@pytest.mark.parametrize("stop_after", [STEPS - 2, STEPS + 3])
@pytest.mark.parametrize("name", RESUMED)
def test_a_stopped_training_ends_as_if_it_had_not_been(
    name: str, stop_after: int, tmp_path: Path
) -> None:
    """Bit-identical, stopped in the first and in the second epoch."""
    options, model = RESUMED[name]
    (tmp_path / "none").mkdir()
    expected = go(options, model, tmp_path / "none")
    assert expected is not None
    assert go(options, model, tmp_path, stop_after) is None
    result = go(options, model, tmp_path)
    assert result is not None
    assert numbers(result[0]) == numbers(expected[0])
    assert result[1] == expected[1]
    assert result[0].draws == expected[0].draws


def test_everything_together_stopped_at_every_step_ends_the_same(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    model = {"mode": "finetune"}
    expected = go(EVERYTHING, model, tmp_path / "none")
    stops = 0
    while (result := go(EVERYTHING, model, tmp_path, 1)) is None:
        stops += 1
    assert stops == 2 * STEPS
    assert expected is not None
    assert numbers(result[0]) == numbers(expected[0])
    assert result[1] == expected[1]


def test_an_average_equals_one_by_hand(tmp_path: Path) -> None:
    """The decay of step s is min(decay, s / (s + 10)), for parameters and buffers."""
    classifier = build(mode="finetune")
    images, settings = prepared({"epochs": 1, "ema": {"decay": 0.2}}, classifier)
    train(classifier, images, settings, Watcher())

    plain = build(mode="finetune")
    plain.train()
    optimizer = make_optimizer(plain, settings)
    step = EagerStep(plain, optimizer)
    torch.manual_seed(1)  # the loop's, of seed 0 and epoch 1
    saved: dict[str, torch.Tensor] = {}
    for number, (inputs, targets) in enumerate(images.train(1)):
        step(inputs, targets)
        share = min(0.2, number / (number + 10))
        for name, value in plain.state_dict().items():
            if number == 0 or not value.is_floating_point():
                saved[name] = value.clone()
            else:
                saved[name] = share * saved[name] + (1 - share) * value
    for name, value in classifier.state_dict().items():
        assert torch.allclose(value, saved[name], atol=1e-5), name
        moved = plain.state_dict()[name]
        assert not value.is_floating_point() or not torch.equal(value, moved), name


def test_without_warm_up_the_average_keeps_its_share_from_the_second_step_on() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    average = Average(module, EmaSettings(decay=0.75, warmup=False))
    for step, value in enumerate([4.0, 8.0, 0.0], 1):
        module.weight.data.fill_(value)
        average.update(step)
    assert float(average.state()["weight"]) == 0.75 * (0.75 * 4 + 0.25 * 8) + 0.25 * 0


@pytest.mark.parametrize(
    ("model", "augment"),
    [({"mode": "finetune"}, {}), ({}, {}), ({}, {"mixup": 0.2})],
    ids=["all", "head", "head on images"],
)
def test_what_is_validated_is_what_is_left(model: dict[str, Any], augment: dict[str, Any]) -> None:
    """The EMA's loss of the best epoch is that of the returned classifier."""
    classifier = build(**model)
    options = {"epochs": 3, "ema": {"decay": 0.9}, "augment": augment, "learning_rate": 0.2}
    images, settings = prepared(options, classifier)
    result = train(classifier, images, settings, Watcher())
    probabilities = predict(classifier, images, "valid").probabilities
    right = probabilities[np.arange(30), SPLITS["valid"].targets]
    assert -np.log(right).mean() == pytest.approx(result.best.valid_loss, rel=1e-4)
    plain = build(**model)
    images, settings = prepared({**options, "ema": {}}, plain)
    assert train(plain, images, settings, Watcher()).best.valid_loss != result.best.valid_loss


def test_balanced_weights_equal_a_loss_by_hand() -> None:
    """Weighting images by the rarity of their class gives the mean over classes."""
    targets = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    weights = balanced_weights(targets, 4)
    assert weights == pytest.approx([10 / 16, 10 / 8, 10 / 16, 0])
    scores = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    objective = make_objective(recipe(class_weights="balanced"), targets, 3, CPU)
    losses = functional.cross_entropy(scores[:, :3], torch.from_numpy(targets), reduction="none")
    of_classes = [losses[targets == number].mean() for number in range(3)]
    result = objective.loss(scores[:, :3], torch.from_numpy(targets))
    assert float(result) == pytest.approx(float(torch.stack(of_classes).mean()), rel=1e-6)


def test_smoothed_labels_equal_a_loss_by_hand() -> None:
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 2, 1, 0])
    shares = 0.9 * functional.one_hot(targets, 3) + 0.1 / 3
    expected = -(shares * scores.log_softmax(1)).sum(1).mean()
    objective = Objective(label_smoothing=0.1)
    assert torch.allclose(objective.loss(scores, targets), expected)
    mixed = 0.5 * functional.one_hot(targets, 3) + 0.5 * functional.one_hot(targets.flip(0), 3)
    smooth = 0.9 * mixed + 0.1 / 3
    expected = -(smooth * scores.log_softmax(1)).sum(1).mean()
    assert torch.allclose(objective.loss(scores, mixed), expected)


def test_validation_knows_nothing_of_smoothing_and_weights() -> None:
    """The validation loss is plain cross-entropy, comparable between recipes."""
    classifier = build()
    options = {"epochs": 1, "label_smoothing": 0.3, "class_weights": "balanced"}
    images, settings = prepared(options, classifier)
    result = train(classifier, images, settings, Watcher())
    probabilities = predict(classifier, images, "valid").probabilities
    right = probabilities[np.arange(30), SPLITS["valid"].targets]
    assert result.best.valid_loss == pytest.approx(-np.log(right).mean(), rel=1e-4)


@pytest.mark.parametrize("shares", [False, True])
def test_parts_of_a_batch_add_up_to_it(shares: bool) -> None:
    """With weights, smoothing and clipping: equal loss, correct predictions and step."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(10, 12), torch.randint(3, (10,))
    weights = torch.tensor([0.5, 2.0, 1.0])
    expected = functional.one_hot(targets, 3).float()
    given = 0.7 * expected + 0.3 * expected.flip(0) if shares else targets
    result = []
    for parts in (1, 3):
        torch.manual_seed(1)
        module = torch.nn.Linear(12, 3)
        optimizer = make_optimizer(module, recipe())
        step = EagerStep(module, optimizer, Objective(0.1, weights), 0.05, parts)
        loss, correct = step(inputs, given)
        result.append((float(loss), int(correct), module.weight.detach().clone()))
    assert result[0][0] == pytest.approx(result[1][0], rel=1e-6)
    assert result[0][1] == result[1][1]
    assert torch.allclose(result[0][2], result[1][2], atol=1e-7)


@pytest.mark.parametrize("bound", [0.01, 1e6])
def test_clipping_bounds_the_gradients_norm_and_leaves_shorter_ones(bound: float) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(12, 3)
    start = module.weight.detach().clone()
    inputs, targets = torch.randn(10, 12), torch.randint(3, (10,))
    functional.cross_entropy(module(inputs), targets).backward()
    assert module.weight.grad is not None
    assert module.bias.grad is not None
    free = torch.cat([module.weight.grad.flatten(), module.bias.grad]).norm()
    optimizer = make_optimizer(module, recipe(learning_rate=1.0, momentum=0))
    bias = module.bias.detach().clone()
    EagerStep(module, optimizer, clip_norm=bound)(inputs, targets)
    steps = [(start - module.weight).flatten(), bias - module.bias]
    moved = torch.cat(steps).norm().detach()
    assert float(moved) == pytest.approx(min(bound, float(free)), rel=1e-3)


def test_head_epochs_leave_the_backbone_as_it_is() -> None:
    """Parameters and norm statistics are bit-identical, then change; also with weight decay."""
    classifier = build(mode="finetune")
    before = state_hash(classifier.backbone)
    head = state_hash(classifier.head)
    seen: list[tuple[bool, bool]] = []
    options = {"epochs": 3, "head_epochs": 2, "weight_decay": 0.1, "optimizer": "adamw"}
    images, settings = prepared(options, classifier)

    def on_step(epoch: int, step: int, of: int) -> None:
        if step == of:
            moved = state_hash(classifier.backbone) != before, state_hash(classifier.head) != head
            seen.append(moved)

    train(classifier, images, settings, Watcher(on_step=on_step))
    assert seen == [(False, True), (False, True), (True, True)]
    assert classifier.train().backbone.training


def test_head_epochs_are_those_of_a_frozen_backbone() -> None:
    tuned, frozen = build(mode="finetune"), build()
    results = []
    for classifier, options in ((tuned, {"head_epochs": 2}), (frozen, {})):
        images, settings = prepared({"epochs": 3, **options}, classifier)
        results.append(train(classifier, images, settings, Watcher()))
    for epoch in range(2):
        one, other = (numbers(result)[epoch] for result in results)
        assert one == pytest.approx(other, abs=1e-4)
    assert numbers(results[0])[2] != pytest.approx(numbers(results[1])[2], abs=1e-4)


def test_a_mixed_image_is_right_where_its_larger_share_is_answered() -> None:
    classifier = build(mode="finetune")
    options = {"epochs": 1, "augment": {"mixup": 0.4, "horizontal_flip": False}}
    images, settings = prepared(options, classifier)
    result = train(classifier, images, settings, Watcher())
    again = build(mode="finetune").train()
    optimizer = make_optimizer(again, settings)
    right = 0
    for inputs, shares in images.train(1):
        optimizer.zero_grad()
        scores = again(inputs)
        right += int((scores.argmax(1) == shares.argmax(1)).sum())
        functional.cross_entropy(scores, shares).backward()
        optimizer.step()
    assert result.epochs[0].train_accuracy == pytest.approx(right / 70)


@pytest.mark.parametrize(
    "augment",
    [
        {"mixup": 0.2},
        {"cutmix": 1},
        {"random_erasing": 0.1},
        {"rand_augment": "rand"},
        {"random_resized_crop": 0.5},
    ],
    ids=str,
)
def test_a_frozen_backbone_sees_images_that_have_no_few_views(augment: dict[str, Any]) -> None:
    classifier = build()
    images, settings = prepared({"epochs": 1, "augment": augment}, classifier)
    assert train(classifier, images, settings, Watcher()).route == "images"


def test_balanced_classes_go_through_features_as_through_images() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [40, 10, 20])
    pixels = rng.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    part = SplitImages([str(n) for n in range(70)], targets, np.arange(70), pixels)
    actual = []
    for mix in (0.0, 1e-9):  # images are only looked at where they could be mixed
        classifier = build(standardize_features=True)
        augment = AugmentSettings(mixup=1.0, mix_probability=mix)
        images = ImageBatches(
            {**SPLITS, "train": part},
            classifier.normalization,
            augment,
            16,
            0,
            CPU,
            sampling="balanced",
        )
        result = train(classifier, images, recipe(epochs=2, sampling="balanced"), Watcher())
        actual.append((result.route, numbers(result)))
    assert [route for route, _ in actual] == ["features", "images"]
    assert np.allclose(actual[0][1], actual[1][1], atol=1e-4)


def test_a_probe_takes_the_recipes_own_steps() -> None:
    classifier = build(mode="finetune")
    images, settings = prepared(EVERYTHING, classifier)
    result = probe_training(classifier, images, settings, ["float32"], 0.0, lambda: 1)
    assert result.route == "images"
    assert result.times["float32"].step_s > 0
