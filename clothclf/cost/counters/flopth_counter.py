"""Count with unmodified flopth, and restate its rules to explain its figures."""

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
    """Count `model(image)` with flopth, in a disposable process and on a disposable model.

    flopth replaces `__call__` of layer classes for the rest of the process and adds buffers to the
    model. The model may be on the meta device. Exceptions of flopth or the model are not caught.
    """
    from flopth import flopth

    # Give each class its own `__call__`: otherwise a subclass inherits its base's replacement, for
    # which flopth's table has no entry, or one that recurses.
    for layer_class in {type(module) for module in model.modules()}:
        layer_class.__call__ = nn.Module.__call__  # type: ignore[method-assign]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
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
        not_counted=dict(Counter(re.findall(r"Op (\S+) is not supported", printed.getvalue()))),
        convention=CONVENTION,
    )


@dataclass(frozen=True)
class Rule:
    """Result of flopth's rule for one layer."""

    kind: str
    """`convolution`, `linear`, `norms`, `activations`, `pools`, `upsampling` or `nothing`."""
    count: int
    """flopth's count for one call."""


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


def rule(layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> Rule:
    """Return flopth 0.1.6's count for one call of a layer, from its input and output shapes.

    Derived from its source and not from its results, so that the two can be compared.
    """
    elements = math.prod(input_shape)
    if isinstance(layer, nn.modules.conv._ConvNd):
        # flopth uses the output's positions, which overcounts transposed convolutions.
        channels = input_shape[1] * (output_shape[1] // layer.groups)
        per_position = math.prod(layer.kernel_size) * channels
        biases = math.prod(output_shape) if layer.bias is not None else 0
        positions = input_shape[0] * math.prod(output_shape[2:])
        return Rule("convolution", positions * per_position + biases)
    if isinstance(layer, _NORMS):
        return Rule("norms", elements * (2 if getattr(layer, "affine", False) else 1))
    if isinstance(layer, _POOLS):
        return Rule("pools", elements)
    if isinstance(layer, _ACTIVATIONS):
        return Rule("activations", elements)
    if isinstance(layer, nn.Upsample):
        return Rule("upsampling", input_shape[0] * math.prod(output_shape[2:]))
    if isinstance(layer, nn.Linear):
        # flopth uses dimension 1 of input and output: the features of a vector, but the number of
        # tokens or the height of a map if there are more dimensions.
        return Rule("linear", input_shape[0] * input_shape[1] * output_shape[1])
    return Rule("nothing", 0)
