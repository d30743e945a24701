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
"""Classes that can be read; of more, those with the most mistakes are shown."""
MAX_NUMBERED = 16
"""Classes up to which the shares are written in."""
CELL = 30
SMALL_CELL = 20
DATA = "cells"
"""Name of the chart's data, for putting another architecture's in."""


def shown_classes(analysis: Analysis) -> list[int]:
    """Numbers of the classes that are drawn, the same for all rows, in order."""
    if analysis.test is None:
        return []
    wrong = np.zeros(len(analysis.test.classes))
    for figures in analysis.statistics:
        if figures is not None:
            matrix = figures.confusion
            wrong += matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    return sorted(np.argsort(-wrong, kind="stable")[:MAX_CLASSES].tolist())


def cells(confusion: npt.NDArray[np.int64], shown: list[int], seeds: int) -> list[list[float]]:
    """What is not empty: place of true class and of answer in `shown`, images, share in per cent.

    `confusion` is added up over `seeds`; images are means over them, shares are of all images
    of the true class, be their answers shown or not.
    """
    actual = np.maximum(confusion.sum(axis=1), 1)
    part = confusion[np.ix_(shown, shown)]
    return [
        [int(i), int(j), round(float(part[i, j]) / seeds, 2),
         round(100 * float(part[i, j] / actual[shown[i]]), 2)]
        for i, j in np.argwhere(part)
    ]  # fmt: skip


def confusion_data(analysis: Analysis, place: int) -> Data:
    """The matrix of the row at a place, a datum for each cell that is not empty."""
    figures = analysis.statistics[place]
    if figures is None or analysis.test is None:
        return []
    shown = shown_classes(analysis)
    labels = [analysis.test.classes[number] for number in shown]
    return [
        {"actual": labels[int(i)], "answer": labels[int(j)], "images": n, "share": share}
        for i, j, n, share in cells(figures.confusion, shown, len(analysis.rows[place].seeds))
    ]


def confusion(analysis: Analysis, place: int, colours: Colours) -> alt.LayerChart:
    """The confusion matrix of the row at a place; rows are true classes, columns answers."""
    import altair as alt

    if analysis.test is None:
        raise ValueError("there are no answers to draw")
    labels = [analysis.test.classes[number] for number in shown_classes(analysis)]
    few = len(labels) <= MAX_NUMBERED
    scale = alt.Scale(domain=labels, paddingInner=0.06, paddingOuter=0)
    across, down = _axis(labelAngle=-45), _axis()
    base = alt.Chart(alt.InlineData(values=confusion_data(analysis, place), name=DATA)).encode(
        x=alt.X("answer:N", scale=scale, axis=across, title="answer"),
        y=alt.Y("actual:N", scale=scale, axis=down, title="true class"),
    )
    squares = base.mark_rect(cornerRadius=2).encode(
        color=alt.condition(
            "datum.actual == datum.answer", alt.value(colours.accent), alt.value(colours.error)
        ),
        # By its root: one image in a hundred is to be seen too.
        opacity=alt.Opacity(
            "share:Q", scale=alt.Scale(type="sqrt", domain=[0, 100], range=[0, 1]), legend=None
        ),
        tooltip=_tooltip(),
    )
    layers: list[alt.Chart] = [squares]
    if few:
        numbers = base.transform_filter("datum.share >= 0.5").mark_text(fontSize=11)
        layers.append(
            numbers.encode(
                text=alt.Text("share:Q", format=".0f"),
                color=alt.condition(
                    "datum.share > 40", alt.value(colours.paper), alt.value(colours.ink)
                ),
            )
        )
    step = CELL if few else SMALL_CELL
    return layered(layers, max(120, step * len(labels)))


def _tooltip() -> list[alt.Tooltip]:
    import altair as alt

    return [
        alt.Tooltip("actual:N", title="true class"),
        alt.Tooltip("answer:N"),
        alt.Tooltip("images:Q", title="images, mean over seeds", format=",.4~g"),
        alt.Tooltip("share:Q", title="of the true class (%)", format=".1f"),
    ]


def _axis(**more: Any) -> alt.Axis:
    """The names of the classes, and no lines."""
    import altair as alt

    return alt.Axis(
        grid=False, ticks=False, domain=False, labelLimit=130, labelOverlap=False, **more
    )
