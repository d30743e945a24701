"""Compare the counters with the headline, and explain their differences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn

from clothclf.cost.counters.flopth_counter import rule
from clothclf.cost.counters.torch_counter import ForwardRecord
from clothclf.results import CounterResult, Verdict

AGREE = 0.02
"""Relative tolerance within which a counter agrees, or its explanation adds up."""
SAME = 1e-4
"""Relative tolerance within which fvcore's and torch's multiply-adds are the same."""

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

Causes = dict[str, int]
"""Signed differences from the headline in multiply-adds, by cause."""


@dataclass(frozen=True)
class CounterVerdict:
    """Verdict on one counter."""

    verdict: Verdict
    reason: str
    """Explanation; empty if the counter agrees."""


def cross_check(headline: int, check: CounterResult | None, error: str) -> CounterVerdict:
    """Compare fvcore's multiply-adds with torch's; `error` is why there is no check."""
    if check is None or check.macs is None:
        return CounterVerdict("unchecked", error)
    if abs(check.macs - headline) <= SAME * max(headline, check.macs):
        return CounterVerdict("agreed", "")
    low, high = sorted((check.macs, headline))
    ignored = ", ".join(sorted(check.not_counted)) or "nothing"
    return CounterVerdict(
        "disputed",
        f"multiply-adds lie between {giga(low)} and {giga(high)} (torch {giga(headline)}, fvcore "
        f"{giga(check.macs)}, which ignored {ignored})",
    )


def judge(name: str, headline: int, counted: CounterResult, causes: Causes) -> CounterVerdict:
    """Return the verdict on a counter's own figure, given the known causes of its difference."""
    if counted.macs is None:
        return CounterVerdict("unchecked", f"{name} gives no figure: {counted.fault}")
    difference = counted.macs - headline
    if abs(difference) <= AGREE * headline:
        return CounterVerdict("agreed", "")
    rest = difference - sum(causes.values())
    reason = name
    if headline:
        reason = f"{name} {difference / headline:+.1%}: {describe(causes, headline)}"
    if abs(rest) <= AGREE * headline:
        return CounterVerdict("explained", reason)
    share = f"{rest / headline:+.1%}" if headline else str(rest)
    return CounterVerdict("disputed", f"{reason}; {share} unexplained")


def describe(causes: Causes, headline: int) -> str:
    """List the significant causes, largest first, each as a percentage of the headline."""
    ordered = sorted(causes.items(), key=lambda cause: -abs(cause[1]))
    significant = [cause for cause in ordered if abs(cause[1]) >= 0.005 * headline] or ordered[:1]
    return ", ".join(f"{what} {count / headline:+.1%}" for what, count in significant)


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


def giga(macs: int) -> str:
    """Format as giga with 4 significant digits: `1.254 G`."""
    return f"{macs / 1e9:.4g} G"
