"""Accuracy versus cost: a point for each architecture, its interval, and the Pareto front."""

from __future__ import annotations

import dataclasses
import itertools
import math

from benchmark.report.analysis import Analysis
from benchmark.report.charts.labels import MARGIN, PLOT, Label, Point, place_labels
from benchmark.report.charts.shared import Data, Spec, field, layer, layered, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.columns import COLUMNS, Column, measured_alike, pareto_front
from benchmark.report.rows import Row

COST_KEYS = ("macs", "params", "latency", "time", "price")
"""Default cost columns, by key of columns.COLUMNS."""
MEASURED_KEYS = ("latency", "memory", "price")
"""Columns that are only comparable under the same measurement conditions."""
ON_FRONT, BEATEN = "on the Pareto front", "dominated"
HEIGHT = 360
LABELLED_WIDTHS = (900, 600, 420, 240)
"""Plot widths in pixels for which labels are placed; the widest that fits is used."""
BAR_OPACITY = 0.75
"""Opacity of interval bars; their contrast with the paper is at least 3 to 1."""
MIN_TICKS = 4
MANTISSAS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 6, 8),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9),
    tuple(n / 10 for n in range(10, 100)),
)
"""Mantissas of ticks of a logarithmic axis, coarse to fine."""


def cost_columns(analysis: Analysis) -> list[Column]:
    """Cost columns to plot: known for at least two rows, and comparable between them.

    The cost of the user's Pareto front comes first.
    """
    gain, cost = analysis.pick.criteria.front if analysis.pick else ("accuracy", "macs")
    own = [cost] if gain == "accuracy" and COLUMNS[cost].log else []
    columns = [_on_target(analysis, COLUMNS[key]) for key in dict.fromkeys([*own, *COST_KEYS])]
    if not measured_alike(analysis.rows):
        columns = [column for column in columns if column.key not in MEASURED_KEYS]
    return [
        column
        for column in columns
        if not column.higher_is_better and sum(bool(column.of(row)) for row in analysis.rows) > 1
    ]


def _on_target(analysis: Analysis, column: Column) -> Column:
    """Column with the device in its title, if its values are of a device that the user chose."""
    target = analysis.pick.criteria.target if analysis.pick else None
    if target is None or column.key not in MEASURED_KEYS:
        return column
    return dataclasses.replace(column, title=f"{column.title} on {target}")


def pareto_data(analysis: Analysis, cost: Column) -> Data:
    """Chart data: a point for each row with a known cost, in row order; accuracy in percent."""
    front = pareto_front(analysis.rows, cost=cost)
    pick = analysis.pick.chosen if analysis.pick else None
    points = []
    for row, figures, name in zip(
        analysis.rows, analysis.statistics, names_of(analysis.rows), strict=True
    ):
        value = cost.of(row)
        if not value or value <= 0:  # cannot be drawn on a logarithmic axis
            continue
        sure = figures.accuracy if figures else None
        points.append(
            {
                "name": name,
                "cost": value,
                "accuracy": 100 * row.accuracy,
                "low": 100 * (sure.low if sure else row.accuracy),
                "high": 100 * (sure.high if sure else row.accuracy),
                "interval": f"{100 * sure.low:.2f} to {100 * sure.high:.2f}" if sure else "none",
                "f1": row.macro_f1,
                "seeds": len(row.seeds),
                "front": ON_FRONT if row in front else BEATEN,
                "pick": row is pick,
                "family": _family(row) if row.sizes_differ else "",
            }
        )
    return points


def _family(row: Row) -> str:
    """Key shared by rows that differ only in image size."""
    return f"{row.architecture} {row.hidden} {row.weights} {row.precision}"


def pareto(analysis: Analysis, cost: Column, colours: Colours) -> Spec:
    """Accuracy versus a cost, with 95 % intervals and the Pareto front highlighted."""
    data = pareto_data(analysis, cost)
    _add_labels(data)
    x = _cost_axis(data, cost)
    y = field("accuracy:Q", title=COLUMNS["accuracy"].title, scale=_accuracy_scale(data))
    kinds, key = [ON_FRONT, BEATEN], {"symbolOpacity": 1}
    shades = {"domain": kinds, "range": [colours.accent, colours.muted]}
    colour = field("front:N", scale=shades, legend=key)
    shapes = {"domain": kinds, "range": ["diamond", "circle"]}
    shape = field("front:N", scale=shapes, legend=key)
    # Drawn below everything else: one architecture at several image sizes.
    sizes = layer(
        "line",
        {"x": x, "y": y, "detail": field("family:N"), "order": field("cost:Q")},
        where="datum.family != ''",
        color=colours.muted,
        strokeWidth=1,
        opacity=0.8,
    )
    steps = layer(
        "line",
        {"x": x, "y": y},
        where=f"datum.front == '{ON_FRONT}'",
        interpolate="step-after",
        color=colours.accent,
        opacity=0.5,
    )
    ends = {"y": field("low:Q"), "y2": {"field": "high"}}
    opacity = {"value": BAR_OPACITY}
    bars = layer("rule", {"x": x, **ends, "color": colour, "opacity": opacity}, strokeWidth=1.5)
    ring = layer(
        "point",
        {"x": x, "y": y},
        where="datum.pick",
        shape="circle",
        size=420,
        color=colours.accent,
        filled=False,
        strokeWidth=1.5,
    )
    encoding = {"x": x, "y": y, "color": colour, "shape": shape, "tooltip": _tooltip(cost)}
    points = layer("point", encoding, filled=True, size=110, opacity=1)
    joined = [sizes] if any(item["family"] for item in data) else []
    layers = [*joined, steps, bars, ring, points, _label_layer({"x": x, "y": y}, colours)]
    return layered(layers, HEIGHT, data)


def _cost_axis(data: Data, cost: Column) -> Spec:
    low, high = min(point["cost"] for point in data), max(point["cost"] for point in data)
    return field(
        "cost:Q",
        title=f"{cost.title}, log scale",
        scale={"type": "log", "domain": [low / MARGIN, high * MARGIN], "nice": False},
        axis={"grid": False, "values": log_ticks(low, high), "format": "~g"},
    )


def _tooltip(cost: Column) -> list[Spec]:
    return [
        field("name:N", title="architecture"),
        field("accuracy:Q", title="test accuracy (%)", format=".2f"),
        field("interval:N", title="95 % CI"),
        field("cost:Q", title=cost.title, format=",.4~g"),
        field("f1:Q", title="macro-F1", format=".4f"),
        field("seeds:Q"),
        field("front:N", title="Pareto front"),
    ]


def log_ticks(low: float, high: float) -> list[float]:
    """Round tick values for a logarithmic axis from `low` to `high`, at least four."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in MANTISSAS:
        every = [float(f"{m}e{power}") for power in decades for m in mantissas]
        ticks = [value for value in every if low / MARGIN <= value <= high * MARGIN]
        if len(ticks) >= MIN_TICKS:
            break
    return ticks


def _accuracy_scale(data: Data) -> Spec:
    low, high = min(point["low"] for point in data), max(point["high"] for point in data)
    margin = max(0.06 * (high - low), 0.2)
    domain = [max(0, low - margin), min(100, high + margin)]
    return {"domain": domain, "zero": False, "nice": False}


def _add_labels(data: Data) -> None:
    """Label the front and the pick, and other points where there is room."""
    points = [
        Point(item["name"], item["cost"], item["accuracy"], item["low"], item["high"])
        for item in data
    ]
    first = [n for n, item in enumerate(data) if item["pick"]]
    first += [n for n, item in enumerate(data) if item["front"] == ON_FRONT]
    order = list(dict.fromkeys([*first, *range(len(data))]))
    front = sorted((item for item in data if item["front"] == ON_FRONT), key=lambda i: i["cost"])
    steps = [
        (one["cost"], one["accuracy"], other["cost"], other["accuracy"])
        for one, other in itertools.pairwise(front)
    ]
    for width in LABELLED_WIDTHS:
        placed = place_labels(points, order, len(set(first)), steps, (width, PLOT[1]))
        for item, label in zip(data, placed, strict=True):
            label = label or Label("", "left", 0, 0)
            item[f"at{width}"] = dataclasses.asdict(label)


def _label_layer(place: Spec, colours: Colours) -> Spec:
    narrowest = LABELLED_WIDTHS[-1]
    widest = "".join(f"width >= {width} ? 'at{width}' : " for width in LABELLED_WIDTHS[:-1])
    here = f"datum[{widest}'at{narrowest}']"
    own: Spec = {key: {"expr": f"{here}.{key}"} for key in ("text", "align", "dx", "dy")}
    style = {**own, "baseline": "middle", "fontSize": 12, "color": colours.ink}
    return layer("text", place, **style)
