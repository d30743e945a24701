"""Batch norms are folded only if the features stay the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clothclf.models.build import build_classifier
from clothclf.models.classifier import Classifier
from clothclf.models.fold import folded
from clothclf.models.weights import RANDOM
from clothclf.settings import HeadSettings, ModelSettings

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32


def build(architecture: str) -> Classifier:
    """Build a classifier with non-trivial norms."""
    classifier = build_classifier(
        architecture, HeadSettings(), ModelSettings(), 3, SIZE, RANDOM, 0
    ).eval()
    torch.manual_seed(0)
    for module in classifier.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2.0)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor)
    return classifier


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, _BatchNorm) for part in module.modules())


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_vit"])
@torch.inference_mode()
def test_a_folded_backbone_gives_the_same_features(architecture: str) -> None:
    classifier = build(architecture)
    images = torch.randn(5, 3, SIZE, SIZE)
    before = classifier.features(images)
    fast = folded(classifier, SIZE)
    torch.testing.assert_close(fast.features(images), before, rtol=1e-4, atol=1e-4)
    assert norms(fast) == 0
    assert torch.equal(classifier.features(images), before)


def test_densenet_keeps_the_norms_that_follow_no_convolution() -> None:
    classifier = build("densenet121")
    fast = folded(classifier, SIZE)
    assert 0 < norms(fast) < norms(classifier)
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        torch.testing.assert_close(
            fast.features(images), classifier.features(images), rtol=1e-3, atol=1e-3
        )


class Shared(nn.Module):
    """Network in which a norm and another path use a convolution's output."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.bias, 3.0)

    def forward(self, images: Tensor) -> Tensor:
        convolved = self.convolution(images)
        joined: Tensor = self.norm(convolved) + convolved
        return joined.mean((2, 3))


class Repeated(nn.Module):
    """Network with one norm after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        one: Tensor = self.norm(self.first(images)).mean((2, 3))
        two: Tensor = self.norm(self.second(images)).mean((2, 3))
        return one + two


@pytest.mark.parametrize("backbone", [Shared, Repeated])
def test_what_would_change_the_features_is_left_as_it_is(backbone: type[nn.Module]) -> None:
    classifier = build("test_resnet")
    classifier.backbone = backbone()
    assert folded(classifier, SIZE) is classifier
