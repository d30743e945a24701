"""flopth as it comes, kept from doing harm; and its rules, so that its figures can be explained."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from clothclf.results import CounterResult

CONVENTION = (
    "layers without sub-layers only: 1 for each multiply-add of convolutions and 1 for each bias; "
    "a linear layer as if on one vector; norms 1 or 2, activations and pools 1 for each element; "
    "functional calls and attention nothing"
)


def count_with_flopth(model: nn.Module, image: Tensor) -> CounterResult:
    """Count `model(image)` with flopth; for a process, and a model, that nothing else needs.

    flopth replaces `__call__` of layer classes for the rest of the process and adds buffers to the
    model. The model may be on the meta device. Raises whatever flopth or the model raises.
    """
    from flopth import flopth

    # Each class calls itself alone: else a subclass finds its base's replacement, and no entry in
    # flopth's table for it, or an entry that leads back to itself.
    for layer_class in {type(module) for module in model.modules()}:
        layer_class.__call__ = nn.Module.__call__  # type: ignore[method-assign]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        total, _ = flopth(model, inputs=[image], bare_number=True)
    by_class: Counter[str] = Counter()
    by_layer: dict[str, int] = {}
    for name, layer in model.named_modules():
        if any(layer.children()):
            continue
        counted: Any = layer.flops
        by_layer[name] = int(counted[0])
        by_class[type(layer).__name__] += int(counted[0])
    return CounterResult(
        macs=int(total),
        by_operator={name: count for name, count in by_class.items() if count},
        by_module={name: count for name, count in by_layer.items() if count},
        not_counted=dict(Counter(re.findall(r"Op (\S+) is not supported", said.getvalue()))),
        convention=CONVENTION,
    )


@dataclass(frozen=True)
class Rule:
    """What flopth's source says of one layer."""

    kind: str
    """`convolution`, `linear`, `norms`, `activations`, `pools`, `upsampling` or `nothing`."""
    count: int


_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.PReLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.GELU,
    nn.CELU,
    nn.SELU,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
)
_POOLS = (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def rule(layer: nn.Module, given: tuple[int, ...], made: tuple[int, ...]) -> Rule:
    """flopth 0.1.6's count for one call of a layer, from the shapes that it takes and gives.

    Written from its rules and not from its answers, so that the two can be compared.
    """
    elements = math.prod(given)
    if isinstance(layer, nn.modules.conv._ConvNd):
        # The output's places, which for a transposed convolution are too many.
        per_place = math.prod(layer.kernel_size) * given[1] * (made[1] // layer.groups)
        biases = math.prod(made) if layer.bias is not None else 0
        return Rule("convolution", given[0] * math.prod(made[2:]) * per_place + biases)
    if isinstance(layer, _NORMS):
        return Rule("norms", elements * (2 if getattr(layer, "affine", False) else 1))
    if isinstance(layer, _POOLS):
        return Rule("pools", elements)
    if isinstance(layer, _ACTIVATIONS):
        return Rule("activations", elements)
    if isinstance(layer, nn.Upsample):
        return Rule("upsampling", given[0] * math.prod(made[2:]))
    if isinstance(layer, nn.Linear):
        # The second length of input and output: the features of a vector, but a count of tokens
        # or the height of a map where there are more dimensions.
        return Rule("linear", given[0] * given[1] * made[1])
    return Rule("nothing", 0)
