"""Classifier: trainable and frozen parts, batch-norm statistics, and published sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from clothclf.errors import ArchitectureError, WeightsError
from clothclf.models.build import build_classifier
from clothclf.models.classifier import Classifier, Standardize
from clothclf.models.load_weights import state_hash
from clothclf.models.weights import RANDOM
from clothclf.results import Weights
from clothclf.settings import HeadSettings, ModelSettings

pytestmark = pytest.mark.usefixtures("one_thread")
PICTURES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(8) % 3
BODY = "test_resnet"


def build(
    name: str = BODY, head: HeadSettings | None = None, seed: int = 0, **options: object
) -> Classifier:
    model = ModelSettings.model_validate({"weights": "none", **options})
    return build_classifier(name, head or HeadSettings(), model, 3, 32, RANDOM, seed)


def one_step(classifier: Classifier, learning_rate: float = 0.1) -> None:
    classifier.train()
    trained = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=learning_rate)
    nn.functional.cross_entropy(classifier(PICTURES), TARGETS).backward()
    optimizer.step()


def changed(classifier: Classifier, before: dict[str, torch.Tensor]) -> set[str]:
    now = classifier.state_dict()
    return {name for name in before if not torch.equal(before[name], now[name])}


def state(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in classifier.state_dict().items()}


def dropping_backbone(classifier: Classifier) -> None:
    """Add active dropout to the backbone, like some architectures have."""
    classifier.backbone.layer1 = nn.Sequential(classifier.backbone.layer1, nn.Dropout(0.5))


def test_a_fixed_frozen_backbone_is_untouched_by_training() -> None:
    """Only the head changes: no gradients, updated statistics or dropout in the backbone."""
    classifier = build(head=HeadSettings(hidden=8, dropout=0.5))
    dropping_backbone(classifier)
    before, backbone = state(classifier), state_hash(classifier.backbone)
    one_step(classifier)
    assert state_hash(classifier.backbone) == backbone
    assert {name.split(".")[0] for name in changed(classifier, before)} == {"head"}
    assert all(parameter.grad is None for parameter in classifier.backbone.parameters())
    assert not any(module.training for module in classifier.backbone.modules())
    assert all(module.training for module in classifier.head.modules())
    assert torch.equal(classifier.backbone(PICTURES), classifier.backbone(PICTURES))
    assert classifier.backbone_is_deterministic()


def test_a_drifting_backbone_moves_its_batch_norm_statistics_and_nothing_else() -> None:
    classifier = build(batch_norm="drifting")
    dropping_backbone(classifier)
    before = state(classifier)
    one_step(classifier)
    moved = {name for name in changed(classifier, before) if name.startswith("backbone.")}
    norms = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {
        name for name in before if name.startswith("backbone.") and name.endswith(norms)
    }
    training = {type(m).__name__ for m in classifier.backbone.modules() if m.training}
    assert training == {"BatchNorm2d"}
    assert not classifier.backbone_is_deterministic()
    classifier.eval()
    after = state(classifier)
    classifier(PICTURES)
    assert changed(classifier, after) == set()


def test_drifting_means_nothing_without_batch_norm() -> None:
    """Backbones without batch norm, like VGG and ViT, can always cache features."""
    assert build("test_vit", batch_norm="drifting").backbone_is_deterministic()


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_other_modes_train_everything(mode: str) -> None:
    classifier = build(mode=mode)
    before = state(classifier)
    for _ in range(2):  # a residual branch that starts at zero passes no gradient in the first
        one_step(classifier)
    assert {name for name, _ in classifier.named_parameters()} <= changed(classifier, before)
    assert any("running_mean" in name for name in changed(classifier, before))
    assert not classifier.backbone_is_deterministic()


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, False),
        ({"standardize_features": True}, False),
        ({"batch_norm": "drifting"}, False),
        ({"mode": "finetune"}, True),
    ],
)
def test_the_trained_state_brings_back_what_training_changed(
    options: dict[str, object], whole: bool
) -> None:
    """Loaded into a new classifier with the same seed, it gives bit-identical scores."""
    classifier = build(**options)
    layer = classifier.head.standardize()
    if layer is not None:
        layer.fit(torch.rand(20, classifier.head.features))
    one_step(classifier)
    classifier.eval()
    saved = classifier.trained_state()
    expected = classifier(PICTURES)
    one_step(classifier)
    assert not torch.equal(classifier.eval()(PICTURES), expected)
    fresh = build(**options)
    unknown = fresh.load_state_dict(saved, strict=False).unexpected_keys
    assert not unknown
    assert torch.equal(fresh.eval()(PICTURES), expected)
    assert (set(saved) == set(classifier.state_dict())) == whole
    backbone = {name for name in saved if name.startswith("backbone.") and not whole}
    assert all("running_" in name or "num_batches" in name for name in backbone)


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    """Uses more rows than one chunk; a constant feature becomes 0, however large."""
    features = torch.randn(9000, 6, generator=torch.Generator().manual_seed(1))
    features = features * torch.tensor([1.0, 100, 1e-3, 1, 0, 0]) + torch.tensor(
        [0.0, 5, 1e-3, -40, 0, 1e4]
    )
    layer = Standardize(6)
    assert torch.equal(layer(features / 1e4), features / 1e4)
    layer.fit(features)
    out = layer(features).double()
    assert out.mean(0).abs().max() < 1e-3
    assert (out[:, :4].std(0) - 1).abs().max() < 1e-4
    assert not out[:, 4:].any()


def test_a_feature_that_is_dead_in_training_cannot_explode() -> None:
    """A standardized feature stays within 10 deviations in any split."""
    features = torch.randn(700, 5, generator=torch.Generator().manual_seed(1))
    features[:, 3] = 0
    features[0, 3] = 1e-10  # a ReLU that is all but dead on the training images
    features[:, 4] = 0
    features[0, 4] = 0.5  # rare, but a signal
    layer = Standardize(5)
    layer.fit(features)
    alive = layer(torch.tensor([[0.0, 0.0, 1e6, 1.0, 0.5]]))[0]
    assert alive.abs().max() == 10
    assert alive[3] == 0
    assert alive[4] == 10


def test_one_row_has_no_deviation_and_becomes_zero() -> None:
    layer = Standardize(3)
    layer.fit(torch.rand(1, 3))
    assert torch.equal(layer(torch.rand(1, 3)), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("name", "head", "parameters"),
    [
        ("vgg16", HeadSettings(hidden=256, dropout=0.2), 135_312_203),
        ("densenet121", HeadSettings(hidden=14, dropout=0.2), 6_968_371),
        ("efficientnet_b0", HeadSettings(dropout=0.2), 4_021_639),
    ],
)
def test_published_heads_weigh_what_was_published(
    name: str, head: HeadSettings, parameters: int
) -> None:
    """135.3, 6.97 and 4.02 million parameters, as published."""
    model = ModelSettings(weights="none")
    classifier = build_classifier(name, head, model, 11, 112, RANDOM, 0)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == parameters
    trained = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    width = classifier.head.features
    hidden = head.hidden
    plain = (width + 1) * 11
    assert trained == (plain if hidden is None else (width + 1) * hidden + (hidden + 1) * 11)


def test_the_seed_decides_and_the_head_does_not_hang_on_the_backbone() -> None:
    """The same seed gives the same weights, and the head does not depend on the backbone's."""
    first, second, other = build(), build(), build(seed=1)
    assert state_hash(first) == state_hash(second)
    assert state_hash(first) != state_hash(other)
    frozen, tuned = build(), build(mode="finetune")
    assert state_hash(frozen.head) == state_hash(tuned.head)


def test_a_state_hash_follows_every_value_and_name() -> None:
    backbone = build().backbone
    copied = copy.deepcopy(backbone)
    assert state_hash(copied) == state_hash(backbone)
    next(copied.parameters()).data[0] += 1e-6
    assert state_hash(copied) != state_hash(backbone)


def test_from_scratch_takes_no_weights(tmp_path) -> None:
    weights = Weights("file", "some.safetensors", "", tmp_path / "some.safetensors")
    with pytest.raises(WeightsError, match=r"mode: scratch starts from random weights"):
        build_classifier(BODY, HeadSettings(), ModelSettings(mode="scratch"), 3, 32, weights, 0)


def test_a_size_that_is_refused_is_one_sentence() -> None:
    """A transformer with 16-pixel patches accepts neither 8 nor 40 pixels."""
    model = ModelSettings(weights="none")
    for name, size in (("test_vit", 8), ("test_vit", 40)):
        with pytest.raises(ArchitectureError) as caught:
            build_classifier(name, HeadSettings(), model, 3, size, RANDOM, 0)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_parameters_saved_under_the_backbones_former_name_are_loaded() -> None:
    """By `load_state_dict` without `strict`, which would pass over unknown names in silence."""
    saved, fresh = build(), build(seed=1)
    former = {name.replace("backbone.", "body.", 1): t for name, t in state(saved).items()}
    assert any(name.startswith("body.") for name in former)
    fresh.load_state_dict(former, strict=False)
    assert state_hash(fresh) == state_hash(saved)
