"""Fold batch norms into the preceding convolutions, for faster inference."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from clothclf.models.classifier import Classifier

TOLERANCE = 1e-3
"""Maximum relative difference of features due to rounding, including TF32 on GPUs."""


@torch.no_grad()
def folded(classifier: Classifier, image_size: int) -> Classifier:
    """Return a copy for inference, with batch norms folded into preceding convolutions.

    A norm with fixed statistics is a multiplication and an addition per channel, which the
    convolution can absorb (Jacob et al. 2018, arXiv:1712.05877, section 3.2). A forward pass finds
    which norm follows which convolution; a second one compares the features. Returns the original
    if the features differ or nothing can be folded.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, image_size, image_size, generator=generator)
    images = images.to(next(classifier.backbone.parameters()).device)
    classifier.eval()
    pairs = _pairs(classifier.backbone, images)
    if not pairs:
        return classifier
    copied = copy.deepcopy(classifier)
    for convolution, norm in pairs:
        _fold(copied.backbone, convolution, norm)
    expected, actual = classifier.backbone(images), copied.backbone(images)
    differs = (actual - expected).norm() > TOLERANCE * expected.norm()
    return classifier if bool(differs) else copied


def _pairs(backbone: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Return names of convolutions and of the norms that follow them, each called only once."""
    names = {module: name for name, module in backbone.named_modules()}
    # Outputs are kept alive, since the id() of a freed tensor may be reused.
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def after_convolution(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[id(output)] = (module, output)

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    handles = []
    for module in names:
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    convolved = [convolution for convolution, _ in outputs.values()]
    return [
        (names[convolution], names[norm])
        for convolution, norm in pairs
        if convolved.count(convolution) == calls[norm] == 1
    ]


def _fold(backbone: nn.Module, convolution_name: str, norm_name: str) -> None:
    """Fold a norm into a convolution, and keep what timm's norm layer does after the norm."""
    convolution = cast(nn.Conv2d, backbone.get_submodule(convolution_name))
    norm = cast(_BatchNorm, backbone.get_submodule(norm_name))
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,  # type: ignore[arg-type]
        norm.running_var,  # type: ignore[arg-type]
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # timm's norm layers may include dropout and an activation.
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part]
    parent, _, name = norm_name.rpartition(".")
    setattr(backbone.get_submodule(parent), name, nn.Sequential(*rest))
