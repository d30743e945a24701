"""The pick's card: its figures, and a small chart of accuracy against the cost that decides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmark.report.analysis import Analysis
from benchmark.report.charts.labels import MARGIN, Box, Font, place_names
from benchmark.report.charts.pareto import log_ticks
from benchmark.report.charts.shared import names_of
from benchmark.report.columns import COLUMNS, MEASURED, share_conditions
from benchmark.report.measured import device_text
from benchmark.report.page import figures
from benchmark.report.page.criteria import cost_keys
from benchmark.report.pick import WORDS
from benchmark.report.pick_rule import Criteria, Rule, decades
from benchmark.report.rows import Row
from benchmark.text.numbers import Headline

WIDTH, HEIGHT = 400, 290
"""Size of the chart in the units of its view box."""
LEFT, RIGHT, TOP, BOTTOM = 44, 16, 28, 42
MAX_TICKS = 6
NEAR = (0.0, 14.0, -14.0, 24.0, -24.0)
FAR = (36.0, -36.0, 48.0, -48.0)
"""With few points, a name farther away is still unambiguous."""
FONT = Font(character=7.9, line=16, gap=12, max_length=23, falls=(*NEAR, *FAR), narrow="fijlrt.-")
MAX_ALL_NAMED = 5
"""Maximum number of points that are all named; else the pick, the runner-up and the front are."""
RING_RADIUS = 10.0
DOT = 5.0
RULE_BOXES = 24
"""Number of boxes along the rule's line that labels avoid."""


@dataclass(frozen=True)
class Mark:
    """One architecture in the chart, in the units of the view box."""

    index: int
    x: float
    y: float
    low: float
    high: float
    front: bool
    excluded: bool


@dataclass(frozen=True)
class Name:
    """Label of an architecture beside its point."""

    text: str
    x: float
    y: float
    anchor: str
    kind: str
    """`pick`, `runner-up` or `other`."""


@dataclass(frozen=True)
class Scatter:
    """The chart in the page; the script redraws it for other criteria."""

    cost: str
    """Key of the cost axis."""
    title: str
    """Title of the cost axis."""
    marks: tuple[Mark, ...]
    pick: Mark | None
    runner_up: Mark | None
    names: tuple[Name, ...]
    rule: tuple[float, float, float, float] | None
    """Line of equal worth from left to right: x and y of both ends."""
    limit: float | None
    """X of the limit on this cost."""
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    data: dict[str, Any]
    """Scales for the script: decimal logarithms of each cost axis, and accuracies in percent."""


def tiles(analysis: Analysis, row: Row, digits: int) -> list[tuple[str, str, str]]:
    """Title, value and note of the figures of a row."""
    sure = figures.interval(analysis, row, digits)
    note = f"95 % CI {sure}" if sure[0].isdigit() else sure
    note += f", mean of {len(row.seeds)} seeds" if len(row.seeds) > 1 else ""
    decides = analysis.pick is None or analysis.pick.criteria.choose_on == "validation"
    shown = [
        ("test accuracy", f"{figures.percent(row.accuracy, digits)} %", note),
        (
            "validation accuracy",
            f"{figures.percent(row.valid_accuracy, digits)} %",
            "decides the pick" if decides else "not used for the choice",
        ),
    ]
    if row.cost:
        headline = Headline.of(row.cost)
        shown.append(("MACs", headline.macs, "one image, forward"))
        shown.append(("parameters", headline.params, "whole network"))
    if row.measured and not row.measured.busy:
        latency = f"{row.measured.latency_ms_median:.1f} ms"
        shown.append(("latency", latency, f"one image, {device_text(row.measured)}"))
    return shown


def scatter(analysis: Analysis) -> Scatter | None:
    """Draw the card's chart; None without a pick, or unless two rows have a comparable cost."""
    pick = analysis.pick
    if pick is None:
        return None
    axes = _axes(analysis.rows)
    rule = Rule(analysis.rows, pick.criteria)
    key = rule.cost_key if rule.cost_key in axes else next(iter(axes), "")
    if not key:
        return None
    view = _View(analysis, axes)
    marks = tuple(view.marks(key, rule))
    by_index = {mark.index: mark for mark in marks}
    indices = {row: index for index, row in enumerate(analysis.rows)}
    chosen = by_index.get(indices[pick.chosen]) if pick.chosen else None
    second = by_index.get(indices[pick.runner_up]) if pick.runner_up else None
    line = view.rule_line(key, rule, pick.criteria, chosen)
    return Scatter(
        cost=key,
        title=axes[key]["title"],
        marks=marks,
        pick=chosen,
        runner_up=second,
        names=tuple(_names(names_of(analysis.rows), marks, chosen, second, line)),
        rule=line,
        limit=view.limit(key, pick.criteria),
        x_ticks=tuple((view.x(key, value), text) for value, text in axes[key]["ticks"]),
        y_ticks=tuple((view.y(value), f"{value:g}") for value in view.y_ticks),
        data={
            "axes": axes,
            "accuracy": [view.bottom, view.top],
            "box": [LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM],
            "font": asdict(FONT),
            "named": {
                "all": MAX_ALL_NAMED,
                "ring": RING_RADIUS,
                "dot": DOT,
                "near": len(NEAR),
                "pieces": RULE_BOXES,
            },
        },
    )


def _axes(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Cost axes that two rows share, by key: title, range in decades, and ticks."""
    axes = {}
    for key in cost_keys():
        if key in MEASURED and not share_conditions(rows):
            continue
        values = [value for row in rows if (value := COLUMNS[key].of(row))]
        if len(values) < 2:
            continue
        low, high = min(values), max(values)
        ticks = log_ticks(low, high)
        ticks = ticks[:: math.ceil(len(ticks) / MAX_TICKS)]
        axes[key] = {
            "title": COLUMNS[key].title,
            "name": WORDS[key][0] if key in WORDS else COLUMNS[key].title,
            "range": [decades(low / MARGIN), decades(high * MARGIN)],
            "ticks": [(decades(value), f"{value:g}") for value in ticks],
        }
    return axes


class _View:
    """Scales of the chart, and what they make of rows."""

    def __init__(self, analysis: Analysis, axes: dict[str, dict[str, Any]]) -> None:
        self.analysis = analysis
        self.axes = axes
        self.intervals = [
            (100 * statistics.accuracy.low, 100 * statistics.accuracy.high)
            if statistics
            else (100 * row.accuracy, 100 * row.accuracy)
            for row, statistics in zip(analysis.rows, analysis.statistics, strict=True)
        ]
        low, high = min(low for low, _ in self.intervals), max(high for _, high in self.intervals)
        margin = max(0.08 * (high - low), 0.2)
        self.bottom, self.top = low - margin, min(high + margin, 100.5)
        self.y_ticks = _round_ticks(self.bottom, min(self.top, 100))

    def x(self, key: str, decade: float) -> float:
        """Pixels from the left of a decimal logarithm on a cost axis."""
        low, high = self.axes[key]["range"]
        share = float((decade - low) / (high - low))
        return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)

    def y(self, percent: float) -> float:
        """Pixels from the top of an accuracy in percent."""
        height = HEIGHT - TOP - BOTTOM
        return round(TOP + height * (self.top - percent) / (self.top - self.bottom), 1)

    def marks(self, key: str, rule: Rule) -> list[Mark]:
        """Rows with a known cost."""
        front = self.analysis.pick.front if self.analysis.pick else []
        return [
            Mark(
                index=index,
                x=self.x(key, decades(value)),
                y=self.y(100 * row.accuracy),
                low=self.y(low),
                high=self.y(high),
                front=row in front,
                excluded=bool(rule.excess(row)),
            )
            for index, (row, (low, high)) in enumerate(
                zip(self.analysis.rows, self.intervals, strict=True)
            )
            if (value := COLUMNS[key].of(row))
        ]

    def rule_line(
        self, key: str, rule: Rule, criteria: Criteria, chosen: Mark | None
    ) -> tuple[float, float, float, float] | None:
        """Line through the pick along which accuracy is worth its cost.

        It is straight because the cost axis is logarithmic; for a maximum drop it is level.
        """
        if chosen is None or not rule.by_cost or key != rule.cost_key:
            return None
        rows = self.analysis.rows
        ends = self.axes[key]["range"]
        if criteria.prefer == "balance":
            row = rows[chosen.index]
            own = decades(COLUMNS[key].of(row))
            level = [100 * row.accuracy + criteria.points_per_10x * (end - own) for end in ends]
        else:
            level = [100 * rule.reference().accuracy - criteria.max_drop] * 2
        return self.x(key, ends[0]), self.y(level[0]), self.x(key, ends[1]), self.y(level[1])

    def limit(self, key: str, criteria: Criteria) -> float | None:
        """Position of the limit on a cost; None without one, or outside the chart."""
        limits = {column: value for column, value, _ in criteria.limits()}
        if not limits.get(key):
            return None
        x = self.x(key, decades(limits[key]))
        return x if LEFT <= x <= WIDTH - RIGHT else None


def _names(
    names: list[str],
    marks: Sequence[Mark],
    pick: Mark | None,
    runner_up: Mark | None,
    rule: tuple[float, float, float, float] | None,
) -> list[Name]:
    """Names of a few points, or of the pick, the runner-up and the front, as in `criteria.js`.

    Names other than the first two are missing where there is no room, and, of many points, where
    they would cross an interval.
    """
    ringed = [mark for mark in (pick, runner_up) if mark]
    few = len(marks) <= MAX_ALL_NAMED
    others = [mark for mark in marks if mark not in ringed and (few or mark.front)]
    order = [*ringed, *others]
    dots = [_around(mark, RING_RADIUS if mark in ringed else DOT) for mark in marks]
    lines = [(mark.x - 1, mark.high, mark.x + 1, mark.low) for mark in marks]
    placed = place_names(
        [names[mark.index] for mark in marks],
        [(mark.x, mark.y) for mark in marks],
        [marks.index(mark) for mark in order],
        len(order) if few else len(ringed),
        dots,
        [*lines, *_boxes(rule)],
        (LEFT, TOP, WIDTH, HEIGHT - BOTTOM),
        FONT if few else replace(FONT, falls=NEAR),
        len(ringed),
    )
    return [
        Name(
            label.text,
            round(mark.x + label.dx, 1),
            round(mark.y + label.dy + 4, 1),
            "start" if label.align == "left" else "end",
            "pick" if mark is pick else "runner-up" if mark is runner_up else "other",
        )
        for mark, label in zip(marks, placed, strict=True)
        if label
    ]


def _around(mark: Mark, radius: float) -> Box:
    return mark.x - radius, mark.y - radius, mark.x + radius, mark.y + radius


def _boxes(rule: tuple[float, float, float, float] | None) -> list[Box]:
    """Boxes along the rule's line."""
    if rule is None:
        return []
    x0, y0, x1, y1 = rule
    across, down = (x1 - x0) / RULE_BOXES, (y1 - y0) / RULE_BOXES
    ends = [(x0 + across * n, y0 + down * n) for n in range(RULE_BOXES + 1)]
    return [
        (left, min(one, other) - 1, right, max(one, other) + 1)
        for (left, one), (right, other) in itertools.pairwise(ends)
    ]


def _round_ticks(low: float, high: float) -> list[float]:
    """Three to six round values between two accuracies in percent."""
    for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < MAX_TICKS:
            return [round(step * number, 1) for number in range(first, last + 1)]
    return [round(low, 1), round(high, 1)]
