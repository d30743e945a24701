"""Confusion matrices, with errors and correct predictions in different colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import Data, layered
from benchmark.report.charts.style import Colours

if TYPE_CHECKING:
    import altair as alt

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


def confusion(analysis: Analysis, index: int, colours: Colours) -> alt.LayerChart:
    """Confusion matrix of a row; rows are true classes, columns predicted classes."""
    import altair as alt

    if analysis.test is None:
        raise ValueError("no predictions to draw")
    labels = [analysis.test.classes[number] for number in shown_classes(analysis)]
    few = len(labels) <= MAX_NUMBERED
    scale = alt.Scale(domain=labels, paddingInner=0.06, paddingOuter=0)
    across, down = _axis(labelAngle=-45), _axis()
    base = alt.Chart(alt.InlineData(values=confusion_data(analysis, index), name=DATA)).encode(
        x=alt.X("predicted:N", scale=scale, axis=across, title="predicted class"),
        y=alt.Y("actual:N", scale=scale, axis=down, title="true class"),
    )
    squares = base.mark_rect(cornerRadius=2).encode(
        color=alt.condition(
            "datum.actual == datum.predicted", alt.value(colours.accent), alt.value(colours.error)
        ),
        # Not a linear scale, so that a share of 1 % is still visible.
        opacity=alt.Opacity(
            "share:Q",
            scale=alt.Scale(
                type="pow", exponent=0.35, domain=[0, 100], range=[0, MAX_OPACITY if few else 1]
            ),
            legend=None,
        ),
        tooltip=_tooltip(),
    )
    layers: list[alt.Chart] = [squares]
    if few:
        numbers = base.transform_filter("datum.share >= 0.5").mark_text(fontSize=11)
        shown = numbers.encode(
            text=alt.Text("share:Q", format=".0f"), color=alt.value(colours.ink), tooltip=_tooltip()
        )
        layers.append(shown)
    step = CELL if few else SMALL_CELL
    return layered(layers, max(120, step * len(labels)))


def _tooltip() -> list[alt.Tooltip]:
    import altair as alt

    return [
        alt.Tooltip("actual:N", title="true class"),
        alt.Tooltip("predicted:N", title="predicted class"),
        alt.Tooltip("images:Q", title="images, mean over seeds", format=",.4~g"),
        alt.Tooltip("share:Q", title="share of the true class (%)", format=".1f"),
    ]


def _axis(**more: Any) -> alt.Axis:
    """Axis with class names and without lines."""
    import altair as alt

    return alt.Axis(
        grid=False, ticks=False, domain=False, labelLimit=130, labelOverlap=False, **more
    )
