"""Compare the counters with the headline, and explain their differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clothclf.cost.counters.base import Causes, Counted
from clothclf.results import CounterResult, Verdict

AGREE = 0.02
"""Relative tolerance within which a counter agrees, or its explanation adds up."""
SAME = 1e-4
"""Relative tolerance within which another counter's multiply-adds and torch's are the same."""


@dataclass(frozen=True)
class CounterVerdict:
    """Verdict on one counter."""

    verdict: Verdict
    reason: str
    """Explanation; empty if the counter agrees."""


def verdicts_on(headline: int, counted: Mapping[str, Counted]) -> dict[str, CounterVerdict]:
    """Return the verdict on each counter; all are disputed if one refutes the headline."""
    for name, item in counted.items():
        check = cross_check(name, headline, item.multiply_adds)
        if check is not None:
            return dict.fromkeys(counted, check)
    return {name: judge(name, headline, it.result, it.causes) for name, it in counted.items()}


def cross_check(name: str, headline: int, check: CounterResult | None) -> CounterVerdict | None:
    """Return the verdict if a counter's multiply-adds differ from torch's, else None."""
    if check is None or check.macs is None:
        return None
    if abs(check.macs - headline) <= SAME * max(headline, check.macs):
        return None
    low, high = sorted((check.macs, headline))
    ignored = ", ".join(sorted(check.not_counted)) or "nothing"
    return CounterVerdict(
        "disputed",
        f"multiply-adds lie between {giga(low)} and {giga(high)} (torch {giga(headline)}, {name} "
        f"{giga(check.macs)}, which ignored {ignored})",
    )


def judge(name: str, headline: int, counted: CounterResult, causes: Causes) -> CounterVerdict:
    """Return the verdict on a counter's own figure, given the known causes of its difference."""
    if counted.macs is None:
        return CounterVerdict("unchecked", f"{name} gives no figure: {counted.error}")
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


def giga(macs: int) -> str:
    """Format as giga with 4 significant digits: `1.254 G`."""
    return f"{macs / 1e9:.4g} G"
