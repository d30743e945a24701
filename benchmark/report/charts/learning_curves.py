"""Accuracy by the number of training images, with the fitted law up to twice the images."""

from __future__ import annotations

import numpy as np

from benchmark.report.analysis import Analysis
from benchmark.report.charts.curves import HEIGHT, series
from benchmark.report.charts.shared import Data, Spec, field, layer, layered, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.learning_curves import MORE, RowCurve

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


def draw(analysis: Analysis, colours: Colours, key_columns: int | None = None) -> Spec:
    """Points and law of each curve. `key_columns` is as in `curves`."""
    colour, _ = series(analysis, colours, key_columns)
    colour["legend"]["symbolOpacity"] = 1  # not that of the bands
    x = field(
        "images:Q",
        title="training images",
        scale={"type": "log", "nice": False, "padding": 12},
        axis={"grid": False, "format": ",d", "tickCount": 6},
    )
    shown = {"title": "test accuracy (%)", "scale": {"zero": False, "nice": True}}
    y, low = field("value:Q", **shown), field("low:Q", **shown)
    band = layer("area", {"x": x, "y": low, "y2": {"field": "high"}, "color": colour}, opacity=0.12)
    encoding = {"x": x, "y": y, "color": colour}
    lines = layer("line", encoding, strokeWidth=2, strokeDash=DASHED)
    tooltip = [
        field("name:N", title="architecture"),
        field("images:Q", title="training images", format=","),
        field("value:Q", title="test accuracy (%)", format=".2f"),
    ]
    dots = layer("point", {**encoding, "tooltip": tooltip}, filled=True, size=50)
    points = {**dots, "data": {"values": point_data(analysis)}}
    return layered([lines, band, points], HEIGHT, law_data(analysis))
