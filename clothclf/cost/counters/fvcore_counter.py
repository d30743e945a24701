"""Count with fvcore, unmodified and restricted to multiply-adds, in a single trace."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clothclf.cost.counters.base import Causes, CountContext, Counted, require_memory
from clothclf.cost.counters.torch_counter import FLOAT32_BYTES
from clothclf.cost.fake_kernels import skip_products
from clothclf.cost.network import build_on_cpu
from clothclf.results import CounterResult

with warnings.catch_warnings():
    # On import, fvcore scripts loss functions, which torch deprecates and which are not used here.
    warnings.simplefilter("ignore", FutureWarning)
    from fvcore.nn import FlopCountAnalysis

CONVENTION = (
    "1 for each multiply-add of convolutions, linear layers and matrix products; norms 2 or 5 and "
    "pools and upsampling 1 to 4 for each element; fused attention, LSTM and padding='same' nothing"
)
MULTIPLY_ADDS = (
    "fvcore's trace, with exact handles for convolutions, linear layers, matrix products, "
    "attention and LSTM, and nothing else: 1 for each multiply-add"
)

# Operators that fvcore counts, but that are not multiply-adds of the headline.
_BESIDE = {
    "batch_norm": "norms",
    "layer_norm": "norms",
    "group_norm": "norms",
    "instance_norm": "norms",
    "adaptive_avg_pool2d": "pools",
    "upsample_nearest2d": "upsampling",
    "upsample_bilinear2d": "upsampling",
    "grid_sampler": "upsampling",
}
# Operators for which fvcore has no handle.
_LACKING = {
    "scaled_dot_product_attention": "fused attention",
    "_convolution_mode": "convolutions with padding='same'",
    "lstm": "LSTM",
    "baddbmm": "products with an addition (baddbmm)",
}

Handle = Callable[[list[Any], list[Any]], Any]

# Prefixes of the counts that one handle returns together: fvcore traces again for each set of
# handles, and drops negative counts.
_OWN, _EXACT, _OVER, _UNDER = "own:", "exact:", "over:", "under:"
_MISSED, _FAILED = "missed:", "failed:"


@dataclass(frozen=True)
class FvcoreCount:
    """Two counts from one trace."""

    as_it_comes: CounterResult
    multiply_adds: CounterResult
    """Multiply-adds only, to cross-check torch's counter."""
    gaps: dict[str, int]
    """fvcore's own figure minus the exact one, by multiply-add operator."""


def count(context: CountContext) -> Counted:
    """Count on real tensors, and explain the difference from the headline."""
    # Matrices of linear layers are neither written nor read, so they occupy no physical memory.
    kernels = sum(p.numel() for p in context.network.model.parameters() if p.ndim > 2)
    needed = FLOAT32_BYTES * (kernels + context.record.live_elements)
    require_memory(needed, context.memory, "its trace on real tensors")
    skip_products()
    real = build_on_cpu(context.request, context.network.features)
    result = count_with_fvcore(real.model, real.image)
    causes = explain_fvcore(result.as_it_comes, result.gaps)
    return Counted(result.as_it_comes, causes, result.multiply_adds)


def count_with_fvcore(model: nn.Module, image: Tensor) -> FvcoreCount:
    """Trace `model(image)` on real tensors and count; does not change the model.

    The trace does not run on the meta device. Exceptions of the model are not caught.
    """
    analysis = FlopCountAnalysis(model, (image,))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    own_handles: dict[str, Handle] = dict(analysis._op_handles)
    for operator in own_handles.keys() | EXACT.keys():
        analysis.set_op_handle(operator, _both(operator, own_handles.get(operator)))
    try:
        with torch.no_grad():
            operators = analysis.by_operator()
    finally:
        _drop_hooks(model)
    modules = analysis.by_module_and_operator()
    unsupported = Counter(analysis.unsupported_ops())
    own = _select(operators, _OWN)
    exact = _select(operators, _EXACT)
    failed = ", ".join(_select(operators, _FAILED))
    return FvcoreCount(
        as_it_comes=CounterResult(
            macs=None if failed else sum(own.values()),
            by_operator=own,
            by_module=_totals(modules, _OWN),
            not_counted=_short(unsupported + Counter(_select(operators, _MISSED))),
            convention=CONVENTION,
            error=f"its handle for {failed} fails" if failed else "",
        ),
        multiply_adds=CounterResult(
            macs=sum(exact.values()),
            by_operator=exact,
            by_module=_totals(modules, _EXACT),
            not_counted=_short(unsupported),
            convention=MULTIPLY_ADDS,
        ),
        gaps=_select(operators, _OVER) | {k: -v for k, v in _select(operators, _UNDER).items()},
    )


def explain_fvcore(own: CounterResult, gaps: Causes) -> Causes:
    """Return the causes of fvcore's difference.

    These are the operators that it counts beside multiply-adds, and `gaps` in its multiply-adds.
    """
    causes: Counter[str] = Counter()
    for operator, count in own.by_operator.items():
        if operator in _BESIDE:
            causes[_BESIDE[operator]] += count
    for operator, gap in gaps.items():
        causes[_LACKING.get(operator, f"its handle for {operator}")] += gap
    return dict(causes)


def _drop_hooks(model: nn.Module) -> None:
    """Remove the hooks that fvcore leaves behind if the model raises an exception."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in list(hooks.items()):
                if type(hook).__module__.startswith("fvcore"):
                    del hooks[key]


def _both(operator: str, own: Handle | None) -> Handle:
    """Return one handle for both counts, which the prefix of the keys distinguishes."""

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        counts: Counter[str] = Counter()
        name = operator.split("::")[-1]
        if own is None:
            counts[_MISSED + operator] += 1
        else:
            try:
                counted = own(inputs, outputs)
            except Exception:  # a failure of fvcore's handle must not affect the exact count
                counts[_FAILED + name] += 1
            else:
                named = counted if isinstance(counted, Counter) else {name: counted}
                counts.update({_OWN + key: int(value) for key, value in named.items()})
        if operator in EXACT:
            kind, exact = EXACT[operator]
            macs = exact(inputs, outputs)
            gap = sum(_select(counts, _OWN).values()) - macs
            counts[_EXACT + kind] = macs
            counts[(_OVER if gap > 0 else _UNDER) + name] = abs(gap)
        return counts

    return handle


def _select(counts: Counter[str], prefix: str) -> dict[str, int]:
    return {
        key.removeprefix(prefix): int(value)
        for key, value in counts.items()
        if key.startswith(prefix)
    }


def _totals(modules: dict[str, Counter[str]], prefix: str) -> dict[str, int]:
    totals = {name: sum(_select(counts, prefix).values()) for name, counts in modules.items()}
    return {name: total for name, total in totals.items() if total}


def _short(operators: Counter[str]) -> dict[str, int]:
    return {name.removeprefix("aten::"): count for name, count in operators.items()}


def _shape(value: Any) -> list[int]:
    if not value.isCompleteTensor():
        raise ValueError(f"the trace has no shape for {value.debugName()}")
    return [int(side) for side in value.type().sizes()]


def _convolution(inputs: list[Any], outputs: list[Any]) -> int:
    """Apply every weight at every output position; if transposed, at every input position."""
    image, weight, out = _shape(inputs[0]), _shape(inputs[1]), _shape(outputs[0])
    transposed = len(inputs) > 7 and bool(inputs[6].toIValue())
    positions = (image if transposed else out)[2:]
    return image[0] * math.prod(positions) * math.prod(weight)


def _linear(inputs: list[Any], outputs: list[Any]) -> int:
    return math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _product(inputs: list[Any], outputs: list[Any]) -> int:
    """Count matmul, mm, bmm and mv: every output element sums over the inner dimension."""
    return math.prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def _added_product(inputs: list[Any], outputs: list[Any]) -> int:
    """Count addmm, baddbmm and addmv, whose first input is the addend."""
    return _product(inputs[1:], outputs)


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """Count einsum of two operands: one multiply-add per combination of indices."""
    equation = inputs[0].toIValue().replace(" ", "")
    operands = [_shape(value) for value in inputs[1].node().inputs()]
    if len(operands) != 2:
        return 0 if len(operands) < 2 else _refuse(f"einsum {equation} of {len(operands)} operands")
    terms = equation.split("->")[0].split(",")
    if "." in equation:
        return _refuse(f"einsum {equation} with an ellipsis")
    lengths = {
        index: length
        for term, shape in zip(terms, operands, strict=True)
        for index, length in zip(term, shape, strict=True)
    }
    return math.prod(lengths.values())


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Count attention: scores q k^T and their product with v, of [batch, heads, tokens, width]."""
    query, key, value = (_shape(tensor) for tensor in inputs[:3])
    scores = math.prod(query[:-1]) * key[-2]
    return scores * (query[-1] + value[-1])


def _lstm(inputs: list[Any], outputs: list[Any]) -> int:
    """Count an LSTM: each weight matrix is applied once per step of each sequence."""
    steps = math.prod(_shape(inputs[0])[:-1])
    weights = [_shape(value) for value in inputs[2].node().inputs()]
    return steps * sum(math.prod(shape) for shape in weights if len(shape) == 2)


def _refuse(what: str) -> int:
    raise NotImplementedError(f"no exact count for {what}")


EXACT: dict[str, tuple[str, Handle]] = {
    "aten::_convolution": ("convolution", _convolution),
    "aten::_convolution_mode": ("convolution", _convolution),
    "aten::convolution": ("convolution", _convolution),
    "aten::linear": ("linear", _linear),
    "aten::addmm": ("linear", _added_product),
    "aten::mm": ("linear", _product),
    "aten::matmul": ("matrix product", _product),
    "aten::bmm": ("matrix product", _product),
    "aten::mv": ("matrix product", _product),
    "aten::addmv": ("matrix product", _added_product),
    "aten::baddbmm": ("matrix product", _added_product),
    "aten::einsum": ("matrix product", _einsum),
    "aten::scaled_dot_product_attention": ("attention", _attention),
    "aten::lstm": ("lstm", _lstm),
}
