"""The pick's card: its figures, and a small chart of accuracy against the cost that decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from benchmark.report.analysis import Analysis
from benchmark.report.charts.labels import MARGIN
from benchmark.report.charts.pareto import log_ticks
from benchmark.report.charts.shared import names_of
from benchmark.report.columns import COLUMNS, MEASURED, measured_alike
from benchmark.report.measured import device_text
from benchmark.report.page import figures
from benchmark.report.page.ask import cost_keys
from benchmark.report.pick import WORDS
from benchmark.report.pick_rule import Criteria, Rule, decades
from benchmark.report.rows import Row
from benchmark.text.numbers import Headline

WIDTH, HEIGHT = 400, 280
"""Size of the chart in the units of its view box."""
LEFT, RIGHT, TOP, BOTTOM = 44, 16, 10, 42
MAX_TICKS = 6
CHARACTER = 8.8
"""Width of a character of a label, on average."""
MAX_LENGTH = 23
"""Maximum characters of a label."""
GAP = 12
"""Distance of a label from its point."""


@dataclass(frozen=True)
class Mark:
    """One architecture in the chart, in the units of the view box."""

    place: int
    x: float
    y: float
    low: float
    high: float
    front: bool
    excluded: bool


@dataclass(frozen=True)
class Label:
    """A name beside its point."""

    text: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True)
class Scatter:
    """The chart as it stands in the page; the script redraws it for other criteria."""

    cost: str
    """Key of the cost axis."""
    title: str
    """Title of the cost axis."""
    marks: tuple[Mark, ...]
    pick: Mark | None
    runner_up: Mark | None
    pick_label: Label | None
    runner_up_label: Label | None
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
    shown = [("test accuracy", f"{figures.percent(row.accuracy, digits)} %", note)]
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
    by_place = {mark.place: mark for mark in marks}
    places = {row: place for place, row in enumerate(analysis.rows)}
    chosen = by_place.get(places[pick.chosen]) if pick.chosen else None
    second = by_place.get(places[pick.runner_up]) if pick.runner_up else None
    names = names_of(analysis.rows)
    own, other = view.labels(names, chosen, second)
    return Scatter(
        cost=key,
        title=axes[key]["title"],
        marks=marks,
        pick=chosen,
        runner_up=second,
        pick_label=own,
        runner_up_label=other,
        rule=view.rule_line(key, rule, pick.criteria, chosen),
        limit=view.limit(key, pick.criteria),
        x_ticks=tuple((view.x(key, value), text) for value, text in axes[key]["ticks"]),
        y_ticks=tuple((view.y(value), f"{value:g}") for value in view.y_ticks),
        data={
            "axes": axes,
            "accuracy": [view.bottom, view.top],
            "box": [LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM],
            "label": [CHARACTER, MAX_LENGTH, GAP],
        },
    )


def _axes(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Cost axes that two rows share, by key: title, range in decades, and ticks."""
    axes = {}
    for key in cost_keys():
        if key in MEASURED and not measured_alike(rows):
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
            (100 * found.accuracy.low, 100 * found.accuracy.high)
            if found
            else (100 * row.accuracy, 100 * row.accuracy)
            for row, found in zip(analysis.rows, analysis.statistics, strict=True)
        ]
        low, high = min(low for low, _ in self.intervals), max(high for _, high in self.intervals)
        margin = max(0.08 * (high - low), 0.2)
        self.bottom, self.top = low - margin, min(high + margin, 100.5)
        self.y_ticks = _round_ticks(self.bottom, min(self.top, 100))

    def x(self, key: str, decade: float) -> float:
        """Pixels from the left of a decimal logarithm on a cost axis."""
        low, high = map(float, self.axes[key]["range"])
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (decade - low) / (high - low), 1)

    def y(self, percent: float) -> float:
        """Pixels from the top of an accuracy in percent."""
        height = HEIGHT - TOP - BOTTOM
        return round(TOP + height * (self.top - percent) / (self.top - self.bottom), 1)

    def marks(self, key: str, rule: Rule) -> list[Mark]:
        """Rows with a known cost."""
        front = self.analysis.pick.front if self.analysis.pick else []
        return [
            Mark(
                place=place,
                x=self.x(key, decades(value)),
                y=self.y(100 * row.accuracy),
                low=self.y(low),
                high=self.y(high),
                front=row in front,
                excluded=bool(rule.excess(row)),
            )
            for place, (row, (low, high)) in enumerate(
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
            row = rows[chosen.place]
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
        place = self.x(key, decades(limits[key]))
        return place if LEFT <= place <= WIDTH - RIGHT else None

    def labels(
        self, names: list[str], pick: Mark | None, runner_up: Mark | None
    ) -> tuple[Label | None, Label | None]:
        """Names of the pick and of the runner-up, apart from each other."""
        apart = 0
        if pick and runner_up and abs(pick.y - runner_up.y) < 2 * GAP:
            apart = GAP if pick.y <= runner_up.y else -GAP
        return (
            None if pick is None else _label(names[pick.place], pick, -apart),
            None if runner_up is None else _label(names[runner_up.place], runner_up, apart),
        )


def _label(name: str, mark: Mark, shift: float) -> Label:
    text = name if len(name) <= MAX_LENGTH else f"{name[: MAX_LENGTH - 1]}…"
    wide = CHARACTER * len(text)
    fits_right = mark.x + GAP + wide <= WIDTH
    fits_left = mark.x - GAP - wide >= 0
    y = min(max(mark.y + shift + 4, TOP + 10), HEIGHT - BOTTOM - 4)
    if fits_right or not fits_left:
        return Label(text, round(min(mark.x + GAP, WIDTH - wide), 1), round(y, 1), "start")
    return Label(text, round(mark.x - GAP, 1), round(y, 1), "end")


def _round_ticks(low: float, high: float) -> list[float]:
    """Three to six round values between two accuracies in percent."""
    for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < MAX_TICKS:
            return [round(step * number, 1) for number in range(first, last + 1)]
    return [round(low, 1), round(high, 1)]
