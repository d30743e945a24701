"""Accuracy by the number of training images, with the fitted law up to twice the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmark.report.analysis import Analysis
from benchmark.report.charts.curves import HEIGHT, series
from benchmark.report.charts.shared import Data, layered, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.learning_curves import MORE, RowCurve

if TYPE_CHECKING:
    import altair as alt

STEPS = 25
"""Points of a fitted line."""
DASHED = [2, 3]


def point_data(analysis: Analysis) -> Data:
    """Chart data: one point for each training; accuracies in percent."""
    return [
        {"name": name, "images": size.images, "value": _percent(accuracy)}
        for name, curve in _curves(analysis)
        for size in curve.sizes
        for accuracy in size.draws
    ]


def law_data(analysis: Analysis) -> Data:
    """Chart data: fitted law and 90 % band of each curve that is not refused."""
    points: Data = []
    for name, curve in _curves(analysis):
        if curve.refusal:
            continue
        first, last = curve.sizes[0].images, curve.sizes[-1].images
        for images in np.geomspace(first, MORE * last, STEPS):
            low, high = curve.fit.band(float(images))
            points.append(
                {
                    "name": name,
                    "images": round(float(images)),
                    "value": _percent(1 - curve.fit.error(float(images))),
                    "low": _percent(1 - high),
                    "high": _percent(1 - low),
                }
            )
    return points


def _curves(analysis: Analysis) -> list[tuple[str, RowCurve]]:
    named = zip(names_of(analysis.rows), analysis.rows, strict=True)
    curves = ((name, analysis.curves.of(row.name)) for name, row in named)
    return [(name, curve) for name, curve in curves if curve is not None]


def _percent(share: float) -> float:
    return float(f"{100 * share:.5g}")


def draw(analysis: Analysis, colours: Colours, key_columns: int | None = None) -> alt.LayerChart:
    """Points and law of each curve. `key_columns` is as in `curves`."""
    import altair as alt

    points = point_data(analysis)
    colour, _ = series(analysis, colours, key_columns)
    colour["legend"]["symbolOpacity"] = 1  # not that of the bands
    x = alt.X(
        "images:Q",
        title="training images",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(grid=False, format=",d", tickCount=6),
    )
    y = alt.Y("value:Q", title="test accuracy (%)", scale=alt.Scale(zero=False, nice=True))
    laws = alt.Chart(alt.InlineData(values=law_data(analysis))).encode(x=x, color=colour)
    band = laws.mark_area(opacity=0.12).encode(
        y=alt.Y("low:Q", title="test accuracy (%)", scale=alt.Scale(zero=False, nice=True)),
        y2="high:Q",
    )
    lines = laws.mark_line(strokeWidth=2, strokeDash=DASHED).encode(y=y)
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip("images:Q", title="training images", format=","),
        alt.Tooltip("value:Q", title="test accuracy (%)", format=".2f"),
    ]
    dots = (
        alt.Chart(alt.InlineData(values=points))
        .mark_point(filled=True, size=50)
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
    )
    chart: alt.LayerChart = layered([lines, band, dots], HEIGHT)
    return chart
