"""Number style of the HTML page: minus signs, and no more digits than the intervals support."""

from __future__ import annotations

import html
import re

from benchmark.report.analysis import Analysis
from benchmark.report.rows import Row

_HYPHEN = re.compile(r"(?<![\w.–−-])-(?=\d)")
_PERCENT = re.compile(r"(?<=\d) %")
_JOINT = re.compile(r"(_|(?<=[a-z])\.)(?=\w)")
COARSE = 0.5
"""Half-width of an interval, in points, from which on one decimal is enough."""


def typeset(text: str) -> str:
    """Replace the hyphen of negative numbers by a minus sign, and keep numbers beside their %."""
    return _PERCENT.sub("\u00a0%", _HYPHEN.sub("−", text))


def breakable(text: str) -> str:
    """HTML of a text in which long names can break after `_` and `.`, not within a word."""
    return _JOINT.sub(r"\1<wbr>", html.escape(text))


def decimals(analysis: Analysis) -> int:
    """Decimals of accuracies in percent: 1 if all 95 % intervals are wider than a point, else 2."""
    intervals = [figures.accuracy for figures in analysis.statistics if figures is not None]
    half_widths = [50 * (sure.high - sure.low) for sure in intervals]
    return 1 if half_widths and min(half_widths) >= COARSE else 2


def percent(share: float, digits: int) -> str:
    """Format a share, 0 to 1, in percent without the sign."""
    return f"{100 * share:.{digits}f}"


def points(difference: float, digits: int) -> str:
    """Format a difference of shares in points, with its sign."""
    text = f"{100 * difference:+.{digits}f}"
    return typeset(text) if float(text) else text[1:]


def interval(analysis: Analysis, row: Row, digits: int) -> str:
    """95 % interval of a row's accuracy in percent, or `no interval`."""
    figures = analysis.statistics[analysis.rows.index(row)]
    if figures is None:
        return "no interval"
    return f"{percent(figures.accuracy.low, digits)} to {percent(figures.accuracy.high, digits)}"
