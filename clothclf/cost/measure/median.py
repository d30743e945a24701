"""Precision of a median of repeated times."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from fractions import Fraction

LEVEL = Fraction(95, 100)


def relative_half_width(values: Sequence[float]) -> float | None:
    """Return half the width of `median_interval`, divided by the median; None if there is none."""
    interval = median_interval(values)
    if interval is None:
        return None
    low, high = interval
    return (high - low) / 2 / statistics.median(values)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the median's confidence interval at LEVEL; None if there are too few values for one.

    It lies between two order statistics, so no distribution is assumed.
    """
    rank = _rank(len(values))
    if not rank:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[-rank]


@functools.cache
def _rank(count: int) -> int:
    """Return the rank, from 1, of the interval's lower end; 0 if there is none.

    The median of the distribution lies below the value of rank r if fewer than r of `count` fair
    coins show heads.
    """
    allowed = math.floor((1 - LEVEL) / 2 * 2**count)
    rank, ways, below = 0, 1, 1
    while below <= allowed:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        below += ways
    return rank
