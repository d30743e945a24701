"""Charts of an analysis in Vega-Altair: accuracy against cost, and the spread over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.report.analysis import Analysis
from benchmark.report.chart_labels import Point, place_labels
from benchmark.report.chart_style import Colours, config
from benchmark.report.columns import COLUMNS, Column, measured_alike, pareto_front
from benchmark.report.table import Row

if TYPE_CHECKING:
    import altair as alt

COST_KEYS = ("macs", "params", "latency", "time")
"""What accuracy is drawn against, of columns.COLUMNS."""
MEASURED_KEYS = ("latency", "memory")
"""Of the device: not to be ranked where rows were measured under different conditions."""
HEIGHT = 360
ROW_HEIGHT = 22
"""Pixels for each architecture, where each has a line."""

Data = list[dict[str, Any]]


def names_of(rows: Sequence[Row]) -> list[str]:
    """A name for each row that no other has: with its weights, then its precision, if need be."""
    found = [row.name for row in rows]
    for more in ("weights", "precision"):
        counts = Counter(found)
        found = [
            f"{name}, {getattr(row, more)}" if counts[name] > 1 else name
            for name, row in zip(found, rows, strict=True)
        ]
    counts = Counter(found)
    return [
        f"{name} ({place})" if counts[name] > 1 else name for place, name in enumerate(found, 1)
    ]


def cost_columns(analysis: Analysis) -> list[Column]:
    """What accuracy can be drawn against: known of two rows at least, and measured alike.

    The cost that the user asked the front for comes first.
    """
    gain, asked = analysis.pick.wishes.front if analysis.pick else ("accuracy", "macs")
    own = [asked] if gain == "accuracy" and COLUMNS[asked].log else []
    found = [COLUMNS[key] for key in dict.fromkeys([*own, *COST_KEYS])]
    if not measured_alike(analysis.rows):
        found = [column for column in found if column.key not in MEASURED_KEYS]
    return [
        column
        for column in found
        if not column.higher_is_better and sum(bool(column.of(row)) for row in analysis.rows) > 1
    ]


def pareto_data(analysis: Analysis, cost: Column) -> Data:
    """A point for each row that has the cost, in the order of the rows; per cent and its unit."""
    front = pareto_front(analysis.rows, cost=cost)
    pick = analysis.pick.trade_off if analysis.pick else None
    found = []
    for row, figures, name in zip(
        analysis.rows, analysis.statistics, names_of(analysis.rows), strict=True
    ):
        value = cost.of(row)
        if not value or value <= 0:  # no place on a logarithmic axis
            continue
        sure = figures.accuracy if figures else None
        found.append(
            {
                "name": name,
                "cost": value,
                "accuracy": 100 * row.accuracy,
                "low": 100 * (sure.low if sure else row.accuracy),
                "high": 100 * (sure.high if sure else row.accuracy),
                "interval": f"{100 * sure.low:.2f} to {100 * sure.high:.2f}" if sure else "none",
                "f1": row.macro_f1,
                "seeds": len(row.seeds),
                "front": "on the Pareto front" if row in front else "beaten in both",
                "pick": row is pick,
            }
        )
    return found


def pareto(analysis: Analysis, cost: Column, colours: Colours) -> alt.LayerChart:
    """Accuracy against a cost, with 95 % intervals; the front has a colour, a shape and a line."""
    import altair as alt

    data = pareto_data(analysis, cost)
    _add_labels(data)
    costs = [point["cost"] for point in data]
    x = alt.X(
        "cost:Q",
        title=f"{cost.title}, logarithmic",
        scale=alt.Scale(type="log", domain=[min(costs) / 1.25, max(costs) * 1.25], nice=False),
        axis=alt.Axis(grid=False, tickCount=6, format="~g"),
    )
    y = alt.Y("accuracy:Q", title=COLUMNS["accuracy"].title, scale=_accuracy_scale(data))
    kinds = ["on the Pareto front", "beaten in both"]
    colour = alt.Color(
        "front:N", scale=alt.Scale(domain=kinds, range=[colours.accent, colours.muted])
    )
    shape = alt.Shape("front:N", scale=alt.Scale(domain=kinds, range=["diamond", "circle"]))
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip("accuracy:Q", title="test accuracy (%)", format=".2f"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("cost:Q", title=cost.title, format=",.4~g"),
        alt.Tooltip("f1:Q", title="macro-F1", format=".4f"),
        alt.Tooltip("seeds:Q"),
        alt.Tooltip("front:N"),
    ]
    base = alt.Chart(alt.Data(values=data)).encode(x=x)
    front = base.transform_filter("datum.front == 'on the Pareto front'")
    line = front.mark_line(interpolate="step-after", color=colours.accent, opacity=0.5).encode(y=y)
    bars = base.mark_rule(opacity=0.45, strokeWidth=1.5).encode(
        y=alt.Y("low:Q"), y2="high:Q", color=colour
    )
    ring = base.transform_filter("datum.pick").mark_point(
        shape="circle", size=420, color=colours.accent, filled=False, strokeWidth=1.5
    )
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        y=y, color=colour, shape=shape, tooltip=tooltip
    )
    return alt.layer(
        line, bars, ring.encode(y=y), points, _label_layer(base.encode(y=y), colours)
    ).properties(height=HEIGHT, width="container")


def _accuracy_scale(data: Data) -> alt.Scale:
    import altair as alt

    low, high = min(point["low"] for point in data), max(point["high"] for point in data)
    margin = max(0.06 * (high - low), 0.2)
    return alt.Scale(domain=[max(0, low - margin), min(100, high + margin)], zero=False, nice=False)


def _add_labels(data: Data) -> None:
    """Name the front and the pick, and everything where there is room."""
    points = [
        Point(item["name"], item["cost"], item["accuracy"], item["low"], item["high"])
        for item in data
    ]
    first = [n for n, item in enumerate(data) if item["pick"]]
    first += [n for n, item in enumerate(data) if item["front"] != "beaten in both"]
    order = dict.fromkeys([*first, *range(len(data))])
    for item, label in zip(data, place_labels(points, list(order)), strict=True):
        item |= {"label": "", "dx": 0, "dy": 0, "align": "left"} if label is None else label


def _label_layer(base: alt.Chart, colours: Colours) -> alt.Chart:
    import altair as alt

    # On a narrow screen labels would cover each other: the pick keeps its own.
    shown = alt.ExprRef("datum.pick || width > 520 ? 1 : 0")
    return base.mark_text(
        align=alt.ExprRef("datum.align"),
        baseline="middle",
        dx=alt.ExprRef("datum.dx"),
        dy=alt.ExprRef("datum.dy"),
        opacity=shown,
        fontSize=12,
        color=colours.ink,
    ).encode(text="label:N")


def seed_spread(analysis: Analysis, colours: Colours) -> alt.LayerChart:
    """Each architecture's seeds, their mean, and behind them the interval of the test set alone."""
    import altair as alt

    names = names_of(analysis.rows)
    rows: Data = []
    seeds: Data = []
    for name, row, figures in zip(names, analysis.rows, analysis.statistics, strict=True):
        sure = figures.accuracy if figures else None
        mean = 100 * row.accuracy
        low, high = (100 * sure.low, 100 * sure.high) if sure else (mean, mean)
        rows.append({"name": name, "accuracy": mean, "low": low, "high": high})
        seeds += [
            {"name": name, "seed": record.spec.seed, "accuracy": 100 * record.test.accuracy}
            for record in row.records
        ]
    ends = [value for row in rows for value in (row["low"], row["high"])]
    ends += [seed["accuracy"] for seed in seeds]
    x = alt.X(
        "accuracy:Q",
        title=COLUMNS["accuracy"].title,
        scale=alt.Scale(domain=[min(ends), max(ends)], zero=False, nice=True),
    )
    axis = alt.Axis(labelLimit=190, grid=False, ticks=False, domain=False, labelPadding=8)
    y = alt.Y("name:N", sort=names, title=None, axis=axis)
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip("accuracy:Q", title="mean accuracy (%)", format=".2f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(y=y)
    bars = base.mark_bar(height=9, cornerRadius=4, opacity=0.22, color=colours.accent).encode(
        x=alt.X("low:Q", title=COLUMNS["accuracy"].title), x2="high:Q", tooltip=tooltip
    )
    means = base.mark_tick(thickness=2.5, size=15, color=colours.accent).encode(
        x=x, tooltip=tooltip
    )
    dots = (
        alt.Chart(alt.Data(values=seeds))
        .mark_point(shape="circle", size=36, filled=False, strokeWidth=1.5, color=colours.ink)
        .encode(
            y=y,
            x=x,
            tooltip=[
                alt.Tooltip("name:N", title="architecture"),
                alt.Tooltip("seed:Q"),
                alt.Tooltip("accuracy:Q", title="test accuracy (%)", format=".2f"),
            ],
        )
    )
    return alt.layer(bars, means, dots).properties(
        height=max(80, ROW_HEIGHT * len(rows)), width="container"
    )


def to_spec(chart: alt.TopLevelMixin, colours: Colours, describes: str) -> dict[str, Any]:
    """The chart as Vega-Lite, in the look of all charts; `describes` is read out to the blind."""
    spec: dict[str, Any] = chart.to_dict()
    spec["config"] = config(colours)
    spec["description"] = describes
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
