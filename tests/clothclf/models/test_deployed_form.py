"""Deployed form: found where there is one, and used only if its outputs are the same."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from clothclf.errors import CostError
from clothclf.models.reparameterize import deployed, deployed_alike, randomize


class Scaled(nn.Module):
    """Layer with a scale that `fuse` omits, like a faulty conversion."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.scale = nn.Parameter(torch.full((1,), scale))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.convolution(images) * self.scale
        return scaled

    def fuse(self) -> nn.Module:
        return self.convolution


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_network_without_another_form_has_none() -> None:
    assert deployed(timm.create_model("test_resnet")) is None


@pytest.mark.parametrize("name", ["mobileone_s0", "repvit_m0_9", "levit_128s"])
def test_outputs_of_both_forms_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    images = torch.randn(2, 3, 224, 224)
    randomize(model, images)
    other = deployed_alike(model, images)
    assert other is not None
    assert len(list(other.parameters())) < len(list(model.parameters()))


def test_random_outputs_depend_on_the_images() -> None:
    """Otherwise, comparing the outputs would be meaningless."""
    model = timm.create_model("mobileone_s0").eval()
    randomize(model, IMAGES)
    with torch.no_grad():
        one, other = model(IMAGES)
    assert (one - other).abs().max() > 0.05 * one.abs().max()


def test_a_conversion_with_other_outputs_is_refused() -> None:
    assert deployed_alike(nn.Sequential(Scaled(1.0)), IMAGES) is not None
    with pytest.raises(CostError, match="its deployed form has other outputs"):
        deployed_alike(nn.Sequential(Scaled(1.01)), IMAGES)


def test_random_parameters_show_what_initial_ones_hide() -> None:
    model = nn.Sequential(Scaled(1.0))
    randomize(model, IMAGES)
    with pytest.raises(CostError, match="its deployed form has other outputs"):
        deployed_alike(model, IMAGES)


def test_a_conversion_that_fails_is_reported_in_one_sentence() -> None:
    model = nn.Sequential(Scaled(1.0))
    model[0].fuse = lambda: 1 / 0
    with pytest.raises(CostError, match="timm cannot reparameterize it: division by zero"):
        deployed(model)
