"""Accuracy of each seed, with the confidence interval from test-set sampling."""

from __future__ import annotations

from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import Data, Spec, field, layer, layered, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.columns import COLUMNS

BAR_OPACITY = 0.7
"""Opacity of interval bars; their contrast with the paper is at least 3 to 1."""
ROW_HEIGHT = 22
"""Height of each architecture in pixels."""


def seed_data(analysis: Analysis) -> tuple[Data, Data]:
    """Chart data of rows and of their runs; accuracies in percent."""
    rows: Data = []
    runs: Data = []
    for name, row, figures in zip(
        names_of(analysis.rows), analysis.rows, analysis.statistics, strict=True
    ):
        sure = figures.accuracy if figures else None
        mean = 100 * row.accuracy
        low, high = (100 * sure.low, 100 * sure.high) if sure else (mean, mean)
        rows.append({"name": name, "accuracy": mean, "low": low, "high": high})
        runs += [
            {"name": name, "seed": record.spec.seed, "accuracy": 100 * record.test.accuracy}
            for record in row.records
        ]
    return rows, runs


def seed_spread(analysis: Analysis, colours: Colours) -> Spec:
    """Seeds of each architecture, their mean, and the 95 % interval from test-set sampling."""
    rows, runs = seed_data(analysis)
    ends = [row[key] for row in rows for key in ("low", "high")]
    ends += [run["accuracy"] for run in runs]
    title = COLUMNS["accuracy"].title
    scale = {"domain": [min(ends), max(ends)], "zero": False, "nice": True}
    x = field("accuracy:Q", title=title, scale=scale, axis={"tickCount": 8})
    axis = {"labelLimit": 190, "grid": False, "ticks": False, "domain": False, "labelPadding": 8}
    y = field("name:N", sort=[row["name"] for row in rows], title=None, axis=axis)
    name = field("name:N", title="architecture")
    figures = [
        name,
        field("accuracy:Q", title="mean accuracy (%)", format=".2f"),
        field("low:Q", title="95 % CI, lower", format=".2f"),
        field("high:Q", title="95 % CI, upper", format=".2f"),
    ]
    interval = {"x": field("low:Q", title=title), "x2": {"field": "high"}}
    bars = layer(
        "bar",
        {**interval, "y": y, "tooltip": figures},
        height=7,
        cornerRadius=3,
        opacity=BAR_OPACITY,
        color=colours.accent,
    )
    means = layer(
        "tick", {"x": x, "y": y, "tooltip": figures}, thickness=2.5, size=17, color=colours.ink
    )
    accuracy = field("accuracy:Q", title="test accuracy (%)", format=".2f")
    circles = layer(
        "point",
        {"x": x, "y": y, "tooltip": [name, field("seed:Q"), accuracy]},
        shape="circle",
        size=36,
        filled=False,
        strokeWidth=1.5,
        color=colours.ink,
    )
    layers = [bars, means, {**circles, "data": {"values": runs}}]
    return layered(layers, max(80, ROW_HEIGHT * len(rows)), rows)
