"""Count with unmodified flopth, and restate its rules to explain its figures."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from flopth import flopth
from torch import Tensor, nn

from clothclf.cost.counters.base import Causes, CountContext, Counted
from clothclf.cost.counters.torch_counter import ForwardRecord
from clothclf.results import CounterResult

CONVENTION = (
    "layers without sub-layers only: 1 for each multiply-add of convolutions and 1 for each bias; "
    "a linear layer as if on one vector; norms 1 or 2, activations and pools 1 for each element; "
    "functional calls and attention nothing"
)


def count(context: CountContext) -> Counted:
    """Count on the meta device, and explain the difference from the headline."""
    result = count_with_flopth(context.network.model, context.network.image)
    fused = any(
        "attention" in counted.multiply_adds.by_operator
        for counted in context.earlier.values()
        if counted.multiply_adds is not None
    )
    return Counted(result, explain_flopth(context.record, fused))


def count_with_flopth(model: nn.Module, image: Tensor) -> CounterResult:
    """Count `model(image)` with flopth, in a disposable process and on a disposable model.

    flopth replaces `__call__` of layer classes for the rest of the process and adds buffers to the
    model. The model may be on the meta device. Exceptions of flopth or the model are not caught.
    """
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


def explain_flopth(record: ForwardRecord, fused_attention: bool) -> Causes:
    """Return the causes of flopth's difference: its rules applied to the recorded calls."""
    causes: Counter[str] = Counter()
    last = {call.name: call for call in record.calls}
    for call in record.calls:
        if call is not last[call.name]:
            causes["layers called again, counted once"] -= call.macs
            continue
        if call.input_shape is None or call.output_shape is None:
            causes[f"{type(call.layer).__name__} not supported"] -= call.macs
            continue
        expected = rule(call.layer, call.input_shape, call.output_shape)
        cause = _flopth_cause(expected.kind, call.layer, len(call.input_shape))
        causes[cause] += expected.count - call.macs
    names = {
        "convolution": "functional convolutions",
        "linear": "functional linear layers",
        "matrix product": "fused attention" if fused_attention else "matrix products",
        "attention": "fused attention",
    }
    for operators in record.inside.values():
        for operator, macs in operators.items():
            causes[names.get(operator, operator)] -= macs
    return {what: count for what, count in causes.items() if count}


def _flopth_cause(kind: str, layer: nn.Module, dimensions: int) -> str:
    if kind == "convolution":
        if getattr(layer, "transposed", False):
            return "transposed convolutions"
        return "biases of convolutions"
    if kind == "linear":
        return "tokens in Linear" if dimensions == 3 else "maps in Linear"
    if kind == "nothing":
        return f"{type(layer).__name__} not supported"
    return kind
