"""Confusion matrices, with errors and correct predictions in different colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import Data, Spec, field, layer, layered
from benchmark.report.charts.style import Colours

MAX_CLASSES = 30
"""Maximum classes to show; with more, those with the most errors are shown."""
MAX_NUMBERED = 16
"""Maximum classes for which cells show their share as text."""
MAX_OPACITY = 0.5
"""Opacity of a cell with 100 %, where cells have digits: these stay readable on every cell."""
CELL = 30
SMALL_CELL = 20
DATA = "cells"
"""Name of the chart's data set, used to switch the architecture."""


def shown_classes(analysis: Analysis) -> list[int]:
    """Indices of the classes to show, ascending and the same for all rows."""
    if analysis.test is None:
        return []
    wrong = np.zeros(len(analysis.test.classes))
    for figures in analysis.statistics:
        if figures is not None:
            matrix = figures.confusion
            wrong += matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    return sorted(np.argsort(-wrong, kind="stable")[:MAX_CLASSES].tolist())


def cells(confusion: npt.NDArray[np.int64], shown: list[int], seeds: int) -> list[list[float]]:
    """Non-empty cells: index of true and predicted class in `shown`, images, share in percent.

    `confusion` is summed over `seeds`; images are means over seeds. Shares are of all images of
    the true class, including predictions that are not shown.
    """
    actual = np.maximum(confusion.sum(axis=1), 1)
    part = confusion[np.ix_(shown, shown)]
    return [
        [int(i), int(j), round(float(part[i, j]) / seeds, 2),
         round(100 * float(part[i, j] / actual[shown[i]]), 2)]
        for i, j in np.argwhere(part)
    ]  # fmt: skip


def confusion_data(analysis: Analysis, index: int) -> Data:
    """Chart data of a row's matrix, one datum for each non-empty cell."""
    figures = analysis.statistics[index]
    if figures is None or analysis.test is None:
        return []
    shown = shown_classes(analysis)
    labels = [analysis.test.classes[number] for number in shown]
    return [
        {"actual": labels[int(i)], "predicted": labels[int(j)], "images": n, "share": share}
        for i, j, n, share in cells(figures.confusion, shown, len(analysis.rows[index].seeds))
    ]


def confusion(analysis: Analysis, index: int, colours: Colours) -> Spec:
    """Confusion matrix of a row; rows are true classes, columns predicted classes."""
    if analysis.test is None:
        raise ValueError("no predictions to draw")
    labels = [analysis.test.classes[number] for number in shown_classes(analysis)]
    few = len(labels) <= MAX_NUMBERED
    scale = {"domain": labels, "paddingInner": 0.06, "paddingOuter": 0}
    shared = {
        "x": field("predicted:N", scale=scale, axis=_axis(labelAngle=-45), title="predicted class"),
        "y": field("actual:N", scale=scale, axis=_axis(), title="true class"),
        "tooltip": _tooltip(),
    }
    right = {"test": "datum.actual == datum.predicted", "value": colours.accent}
    # Not a linear scale, so that a share of 1 % is still visible.
    seen = {"type": "pow", "exponent": 0.35, "domain": [0, 100]}
    opacity = {**seen, "range": [0, MAX_OPACITY if few else 1]}
    squares = layer(
        "rect",
        {
            **shared,
            "color": {"condition": right, "value": colours.error},
            "opacity": field("share:Q", scale=opacity, legend=None),
        },
        cornerRadius=2,
    )
    digits = {"text": field("share:Q", format=".0f"), "color": {"value": colours.ink}}
    numbers = layer("text", {**shared, **digits}, where="datum.share >= 0.5", fontSize=11)
    step = CELL if few else SMALL_CELL
    layers = [squares, numbers] if few else [squares]
    return layered(layers, max(120, step * len(labels)), confusion_data(analysis, index), DATA)


def _tooltip() -> list[Spec]:
    return [
        field("actual:N", title="true class"),
        field("predicted:N", title="predicted class"),
        field("images:Q", title="images, mean over seeds", format=",.4~g"),
        field("share:Q", title="share of the true class (%)", format=".1f"),
    ]


def _axis(**more: Any) -> Spec:
    """Axis with class names and without lines."""
    lines = {"grid": False, "ticks": False, "domain": False}
    return {**lines, "labelLimit": 130, "labelOverlap": False, **more}
