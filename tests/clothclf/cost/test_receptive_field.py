"""Receptive fields: published and closed-form values, and a check by gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from clothclf.cost.receptive_field.receptive_field import receptive_field
from clothclf.results import ReceptiveField


def of_timm(name: str) -> ReceptiveField:
    size = timm.get_pretrained_cfg(name, allow_unregistered=True).input_size
    with torch.device("meta"):
        return receptive_field(timm.create_model(name).eval(), torch.zeros(1, *size))


class Backbone(nn.Module):
    """Toy network with `forward_features`."""

    def __init__(self, *layers: nn.Module, between: Callable[[Tensor], Tensor] | None = None):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.between = between

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layers(x if self.between is None else self.between(x))


def of_toy(backbone: nn.Module, size: int = 32) -> tuple[int | None, int | None, int | None, str]:
    with torch.device("meta"):
        result = receptive_field(backbone.to("meta").eval(), torch.zeros(1, 3, size, size))
    return result.pixels, result.stride, result.padding, result.global_by


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("vgg16", 212), ("mobilenetv1_100", 315), ("inception_v3", 1311), ("inception_v4", 2071),
     ("inception_resnet_v2", 3039)],
)  # fmt: skip
def test_the_values_of_araujo_norris_and_sim(name: str, pixels: int) -> None:
    result = of_timm(name)
    assert (result.pixels, result.stride, result.global_by) == (pixels, 32, "")


def depth_field(blocks: tuple[int, ...], stem: int, grown: int) -> int:
    """Receptive field of a ResNet by depth: each block adds one 3 x 3 convolution."""
    step, pixels = 4, stem
    for stage, count in enumerate(blocks):
        before = step
        step *= 1 if stage == 0 else 2
        pixels += grown * (before + step * (count - 1))
    return pixels


@pytest.mark.parametrize(
    ("name", "blocks", "pixels"),
    [("resnet50", (3, 4, 6, 3), 427), ("resnet101", (3, 4, 23, 3), 971)],
)
def test_resnets_follow_the_closed_form(name: str, blocks: tuple[int, ...], pixels: int) -> None:
    assert depth_field(blocks, stem=11, grown=2) == pixels
    assert of_timm(name).pixels == pixels


def test_efficientnet_b7_follows_its_table_of_kernels_and_strides() -> None:
    repeats, kernels = (4, 7, 7, 10, 10, 13, 4), (3, 3, 5, 3, 5, 5, 3)
    strides = (1, 2, 2, 2, 1, 2, 1)
    pixels, step = 3, 2
    for count, kernel, stride in zip(repeats, kernels, strides, strict=True):
        pixels += (kernel - 1) * step
        step *= stride
        pixels += (kernel - 1) * step * (count - 1)
    result = of_timm("efficientnet_b7")
    assert (result.pixels, result.stride) == (pixels, step) == (3079, 32)
    assert result.global_by.startswith("squeeze-excitation in blocks.0.0.se")


@pytest.mark.parametrize(
    ("name", "pixels", "stride", "part"),
    [
        ("vit_tiny_patch16_224", 16, 16, "attention in blocks.0.attn"),
        ("swin_tiny_patch4_window7_224", 32, 32, "attention in layers.3.blocks.0.attn"),
        ("mixer_b16_224", 16, 16, "token mixing in blocks.0.mlp_tokens"),
        ("convnextv2_atto", 1136, 32, "global pooling in stages.0.blocks.0.mlp.grn"),
        ("mobilevitv2_050", 187, 32, "attention in stages.2.1.transformer.0.attn"),
        # A 7 x 7 window with stride 4, and three poolings of 2 x 2 by folding tokens.
        ("hiera_tiny_224", 7 + 4 + 8 + 16, 32, "attention"),
    ],
)
def test_what_sees_the_whole_image_is_named_and_left_out(
    name: str, pixels: int, stride: int, part: str
) -> None:
    result = of_timm(name)
    assert (result.pixels, result.stride) == (pixels, stride)
    assert result.global_by.startswith(part)


@pytest.mark.parametrize("name", ["halonet26t", "hrnet_w18_small"])
def test_what_cannot_be_followed_is_unknown_and_no_number(name: str) -> None:
    assert of_timm(name).pixels is None


def space_to_depth(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    folded = x.reshape(n, c, h // 2, 2, w // 2, 2)
    return folded.permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def slices(x: Tensor) -> Tensor:
    parts = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return torch.cat(parts, dim=1)


def conv(channels: int, kernel: int, stride: int = 1, padding: int = 0, gap: int = 1) -> nn.Module:
    return nn.Conv2d(channels, 8, kernel, stride, padding, gap)


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (Backbone(conv(3, 3, 1, 1)), (3, 1, 1, "")),
        (Backbone(conv(3, 3, 2, 1), conv(8, 3, 1, 1)), (7, 2, 3, "")),
        (Backbone(conv(3, 3, 1, 2, gap=2)), (5, 1, 2, "")),
        (Backbone(conv(3, 4, 4), nn.MaxPool2d(3, 2, 1)), (12, 8, 4, "")),
        (Backbone(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 3, 2)), (3, 2, 0, "")),
        (Backbone(conv(12, 3, 1, 1), between=space_to_depth), (6, 2, 2, "")),
        (Backbone(conv(12, 3, 1, 1), between=slices), (6, 2, 2, "")),
        (Backbone(conv(3, 1), between=lambda x: x + x.roll(0, 2)), (1, 1, 0, "")),
        (Backbone(nn.Upsample(scale_factor=2), conv(3, 3, 1, 1)), (None, None, None, "")),
        (Backbone(nn.ConvTranspose2d(3, 8, 2, 2)), (None, None, None, "")),
        (Backbone(nn.AdaptiveAvgPool2d(8)), (4, 4, 0, "")),
        (Backbone(conv(3, 3, 1, 1), between=lambda x: x.flip(-1)), (None, None, None, "")),
    ],
)  # fmt: skip
def test_toy_networks(backbone: nn.Module, expected: tuple[int | None, int | None, str]) -> None:
    assert of_toy(backbone) == expected


def test_pooling_along_one_axis_is_not_global_and_along_both_is() -> None:
    rows = Backbone(conv(3, 3, 1, 1), between=lambda x: x * x.mean(3, keepdim=True).sigmoid())
    whole = Backbone(conv(3, 3, 1, 1), between=lambda x: x * x.mean((2, 3), keepdim=True).sigmoid())
    assert of_toy(rows)[3] == ""
    assert of_toy(whole) == (3, 1, 1, "global pooling in Backbone")


def test_the_longest_branch_counts() -> None:
    class Branches(Backbone):
        def forward_features(self, x: Tensor) -> Tensor:
            return torch.cat([layer(x) for layer in self.layers], dim=1)

    backbone = Branches(conv(3, 1), conv(3, 5, 1, 2), nn.MaxPool2d(3, 1, 1))
    assert of_toy(backbone) == (5, 1, 2, "")


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext"])
def test_the_field_is_where_pixels_change_the_output(name: str) -> None:
    """The gradient of a central output covers exactly the receptive field."""
    torch.manual_seed(0)
    with torch.device("meta"):
        result = receptive_field(timm.create_model(name).eval(), torch.zeros(1, 3, 224, 224))
    assert result.pixels is not None
    assert result.stride is not None
    assert result.padding is not None
    side = 32 * (result.pixels // 32 + 3)
    model = timm.create_model(name).eval().double()
    for norm in (m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm))):
        nn.init.ones_(norm.weight)  # some start at zero and would shut their branch
    image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    features = model.forward_features(image)
    place = features.shape[-1] // 2
    features[0, :, place, place].sum().backward()
    assert image.grad is not None
    reached = image.grad[0].abs().sum((0, 1)).nonzero().flatten()
    first = place * result.stride - result.padding
    assert (int(reached[0]), int(reached[-1])) == (first, first + result.pixels - 1)


def test_counting_the_field_leaves_the_model_as_it_was() -> None:
    model = timm.create_model("test_vit").eval()
    receptive_field(model, torch.zeros(1, 3, 160, 160))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
