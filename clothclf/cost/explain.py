"""Compare the counters: one headline, and for each other figure a verdict that adds up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn

from clothclf.cost.counters.flopth_counter import rule
from clothclf.cost.counters.torch_counter import ForwardRecord
from clothclf.results import CounterResult, Verdict

AGREE = 0.02
"""A counter agrees, or its explanation adds up, within this share of the headline."""
SAME = 1e-4
"""fvcore's multiply-adds and torch's are the same within this share."""

# fvcore's names of what it counts though it is no multiply-add of the headline.
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
# What fvcore has no handle for, in the field's words.
_LACKING = {
    "scaled_dot_product_attention": "fused attention",
    "_convolution_mode": "convolutions with padding='same'",
    "lstm": "LSTM",
    "baddbmm": "products with an addition (baddbmm)",
}

Causes = dict[str, int]
"""Signed differences from the headline, in multiply-adds, by what makes them."""


@dataclass(frozen=True)
class Finding:
    """One counter's verdict."""

    verdict: Verdict
    reason: str
    """In words; empty where it agrees."""


def cross_check(headline: int, check: CounterResult | None, fault: str) -> Finding:
    """Whether fvcore's multiply-adds are torch's; `fault` is why there is no check."""
    if check is None or check.macs is None:
        return Finding("unchecked", fault)
    if abs(check.macs - headline) <= SAME * max(headline, check.macs):
        return Finding("agreed", "")
    low, high = sorted((check.macs, headline))
    passed = ", ".join(sorted(check.not_counted)) or "nothing"
    return Finding(
        "disputed",
        f"multiply-adds lie between {giga(low)} and {giga(high)} (torch {giga(headline)}, fvcore "
        f"{giga(check.macs)}, which passed over {passed})",
    )


def judge(name: str, headline: int, counted: CounterResult, causes: Causes) -> Finding:
    """Verdict on a counter's own figure, given what is known to set it apart."""
    if counted.macs is None:
        return Finding("unchecked", f"{name} gives no figure: {counted.fault}")
    away = counted.macs - headline
    if abs(away) <= AGREE * headline:
        return Finding("agreed", "")
    left = away - sum(causes.values())
    told = f"{name} {away / headline:+.1%}: {describe(causes, headline)}" if headline else name
    if abs(left) <= AGREE * headline:
        return Finding("explained", told)
    share = f"{left / headline:+.1%}" if headline else str(left)
    return Finding("disputed", f"{told}; {share} is left unexplained")


def describe(causes: Causes, headline: int) -> str:
    """The causes that matter, largest first, each as a share of the headline."""
    ordered = sorted(causes.items(), key=lambda cause: -abs(cause[1]))
    matter = [cause for cause in ordered if abs(cause[1]) >= 0.005 * headline] or ordered[:1]
    return ", ".join(f"{what} {count / headline:+.1%}" for what, count in matter)


def explain_flopth(record: ForwardRecord, fused_attention: bool) -> Causes:
    """What flopth's rules make of the calls that torch's counter watched."""
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


def explain_fvcore(own: CounterResult, gaps: Causes) -> Causes:
    """What fvcore counts beside multiply-adds, and the `gaps` in those that it should count."""
    causes: Counter[str] = Counter()
    for operator, count in own.by_operator.items():
        if operator in _BESIDE:
            causes[_BESIDE[operator]] += count
    for operator, gap in gaps.items():
        causes[_LACKING.get(operator, f"its handle for {operator}")] += gap
    return dict(causes)


def giga(macs: int) -> str:
    """`1.254 G`, with four digits that mean something."""
    return f"{macs / 1e9:.4g} G"
