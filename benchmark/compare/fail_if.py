"""Parse and evaluate the conditions of `bench compare --fail-if`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.compare.compare import Compared
from benchmark.compare.contrast import Change, Contrast
from benchmark.compare.costs import CostChange
from benchmark.errors import ReportError

GRAMMAR = (
    "accuracy drops POINTS, macro-f1 drops POINTS, accuracy not within POINTS, macro-f1 not within "
    "POINTS, macs rise PERCENT %, params rise PERCENT %, latency rises PERCENT %"
)
_CONDITION = re.compile(
    r"(?P<score>accuracy|macro-f1) (drops?|(?P<margin>not within)) "
    r"(?P<points>\d+(\.\d+)?)( ?points?)?"
    r"|(?P<cost>macs|params|latency) rises? (?P<percent>\d+(\.\d+)?) ?%"
)
MAX_LENGTH = 100
"""Maximum characters of a condition."""
ROUNDING = 1e-9
"""Tolerance, so that a drop equal to the limit does not exceed it by rounding."""


@dataclass(frozen=True)
class Condition:
    """A regression that fails the comparison."""

    figure: str
    """accuracy, macro-f1, macs, params or latency."""
    limit: float
    """Limit in points for accuracy and macro-F1, else in percent."""
    text: str
    """As the user wrote it."""
    non_inferiority: bool = False
    """Whether a drop beyond the limit must be excluded with 95 % confidence (`not within`)."""

    @property
    def of_score(self) -> bool:
        """Whether the condition is on accuracy or macro-F1."""
        return self.figure in ("accuracy", "macro-f1")


def read_condition(text: str) -> Condition:
    """Parse a condition such as `accuracy drops 0.5`; raises ReportError with the grammar."""
    plain = " ".join(text.lower().split())
    match = _CONDITION.fullmatch(plain) if len(plain) <= MAX_LENGTH else None
    if match is None:
        shown = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
        raise ReportError(f"--fail-if {shown!r}: invalid condition; use one of: {GRAMMAR}")
    figure = match["score"] or match["cost"]
    limit = float(match["points"] or match["percent"])
    return Condition(figure, limit, text, match["margin"] is not None)


@dataclass(frozen=True)
class Judgement:
    """Result of evaluating conditions; the comparison passes if both fields are empty."""

    held: tuple[str, ...]
    """One sentence for each violated condition and architecture."""
    missing: tuple[str, ...]
    """Reasons why conditions could not be evaluated; the comparison fails then."""


NOT_ASKED = Judgement((), ())


def judge(conditions: Sequence[Condition], compared: Compared, certain: bool) -> Judgement:
    """Evaluate conditions; with `certain`, only statistically significant drops count."""
    if not conditions:
        return NOT_ASKED
    missing = [
        f"--fail-if cannot be evaluated for {name}: {compared.new} has no result for it"
        for name in compared.only_baseline
    ]
    violations = []
    for condition in conditions:
        for contrast in compared.contrasts:
            try:
                violations.append(_held(condition, contrast, certain))
            except _MissingError as error:
                missing.append(
                    f"--fail-if {condition.text!r} cannot be evaluated for {contrast.name}: {error}"
                )
    return Judgement(tuple(sentence for sentence in violations if sentence), tuple(missing))


class _MissingError(Exception):
    """A value is missing; the message says why."""


def _held(condition: Condition, contrast: Contrast, certain: bool) -> str:
    if condition.of_score:
        change = contrast.accuracy if condition.figure == "accuracy" else contrast.macro_f1
        if condition.non_inferiority:
            return _inferior(condition, contrast, change)
        return _dropped(condition, contrast, change, certain)
    (cost,) = (cost for cost in contrast.costs if cost.key == condition.figure)
    return _risen(condition, contrast, cost)


def _dropped(condition: Condition, contrast: Contrast, change: Change, certain: bool) -> str:
    drop = -100 * change.difference
    sure = ""
    if certain:
        if change.interval is None:
            raise _MissingError("it has too many classes for a confidence interval")
        if change.interval.high >= 0:
            return ""
        sure = f", at least {-100 * change.interval.high:.2f} with 95 % confidence"
    if drop <= condition.limit + ROUNDING:
        return ""
    return (
        f"{contrast.name}: {condition.figure} drops {drop:.2f} points, more than "
        f"{condition.limit:g}, from {100 * change.baseline:.2f} to {100 * change.new:.2f}{sure}"
    )


def _inferior(condition: Condition, contrast: Contrast, change: Change) -> str:
    if change.interval is None:
        raise _MissingError("it has too many classes for a confidence interval")
    low = 100 * change.interval.low
    if low >= -condition.limit - ROUNDING:
        return ""
    return (
        f"{contrast.name}: {condition.figure} may drop by more than {condition.limit:g} points: "
        f"{100 * change.difference:+.2f}, 95 % confidence interval {low:+.2f} to "
        f"{100 * change.interval.high:+.2f}"
    )


def _risen(condition: Condition, contrast: Contrast, cost: CostChange) -> str:
    if cost.ratio is None or cost.baseline is None or cost.new is None:
        raise _MissingError(cost.incomparable)
    rise = 100 * (cost.ratio - 1)
    if rise <= condition.limit + ROUNDING:
        return ""
    verb = "rises" if cost.key == "latency" else "rise"
    return (
        f"{contrast.name}: {cost.title} {verb} {rise:.1f} %, more than {condition.limit:g} %, "
        f"from {cost.text(cost.baseline)} to {cost.text(cost.new)}"
    )
