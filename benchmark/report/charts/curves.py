"""Learning curves of all runs, with a few architectures highlighted in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import Data, layered, names_of
from benchmark.report.charts.style import DASHES, Colours
from clothclf.results import TrainingResult

if TYPE_CHECKING:
    import altair as alt

MAX_POINTS = 60
"""Maximum epochs drawn for one run; longer trainings are subsampled."""
HEIGHT = 300
PAGE_COLUMNS = (
    "max(1, floor((width && isFinite(containerSize()[0]) ? containerSize()[0] - 70 : width) / 305))"
)
"""Vega expression for the legend columns; it reads `width` so that it updates on resize."""
FIGURES = {
    "accuracy": ("validation accuracy (%)", ".2f"),
    "loss": ("validation loss (nats)", ".4f"),
    "training": ("training loss (nats)", ".4f"),
}
"""Metrics by epoch: title with unit, and number format."""


def coloured(analysis: Analysis) -> list[str]:
    """Names of highlighted rows: the pick and the most accurate ones."""
    names = names_of(analysis.rows)
    pick = analysis.pick.chosen if analysis.pick else None
    indices = sorted(range(len(names)), key=lambda index: analysis.rows[index] is not pick)
    return [names[index] for index in sorted(indices[: len(DASHES)])]


def curve_data(analysis: Analysis, figure: str) -> Data:
    """Chart data: a point for each epoch of each run; accuracies in percent, losses in nats."""
    chosen = coloured(analysis)
    points: Data = []
    for name, row in zip(names_of(analysis.rows), analysis.rows, strict=True):
        points += [
            {"name": name, "seed": record.spec.seed, "own": int(name in chosen), **point}
            for record in row.records
            for point in _points(record.training, figure)
        ]
    # Later items are drawn on top, so highlighted lines come last.
    return sorted(points, key=lambda item: bool(item["own"]))


def _points(training: TrainingResult, figure: str) -> Data:
    count = len(training.epochs)
    shown = set(np.linspace(0, count - 1, min(count, MAX_POINTS)).round().astype(int).tolist())
    shown.add(training.best_epoch - 1)
    points = []
    for index in sorted(shown):
        epoch = training.epochs[index]
        values = {
            "accuracy": 100 * epoch.valid_accuracy,
            "loss": epoch.valid_loss,
            "training": epoch.train_loss,
        }
        best = epoch.epoch == training.best_epoch
        points.append(
            {"epoch": epoch.epoch, "value": float(f"{values[figure]:.5g}"), "best": int(best)}
        )
    return points


def series(
    analysis: Analysis, colours: Colours, key_columns: int | None = None
) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dash of each row's line, with a legend of `key_columns` columns as in `curves`."""
    import altair as alt

    chosen = coloured(analysis)
    others = [name for name in names_of(analysis.rows) if name not in chosen]
    domain = [*chosen, *others]
    shades = [*colours.series[: len(chosen)], *[colours.muted] * len(others)]
    dashes = [list(dash) for dash in DASHES[: len(chosen)]] + [[1, 0]] * len(others)
    # The plot's own width shrinks when axes are drawn; the legend would then need another row
    # for which no space is reserved.
    columns = alt.ExprRef(PAGE_COLUMNS) if key_columns is None else key_columns
    key = alt.Legend(
        columns=columns, values=chosen, symbolType="stroke", symbolSize=500, symbolStrokeWidth=2
    )
    return (
        alt.Color("name:N", scale=alt.Scale(domain=domain, range=shades), legend=key),
        alt.StrokeDash("name:N", scale=alt.Scale(domain=domain, range=dashes), legend=key),
    )


def lines_with_points(
    analysis: Analysis,
    points: Data,
    x: alt.X,
    titles: tuple[str, str],
    colours: Colours,
    key_columns: int | None = None,
) -> alt.LayerChart:
    """One line for each row with points, whose accuracies `value` are in percent.

    `titles` are those of the y axis and of a value in tooltips; `key_columns` is as in `curves`.
    """
    import altair as alt

    colour, dash = series(analysis, colours, key_columns)
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=x,
        y=alt.Y("value:Q", title=titles[0], scale=alt.Scale(zero=False, nice=True)),
        color=colour,
    )
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip(x.shorthand),
        alt.Tooltip("value:Q", title=titles[1], format=".2f"),
    ]
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=50).encode(tooltip=tooltip)
    chart: alt.LayerChart = layered([lines, dots], HEIGHT)
    return chart


def curves(
    analysis: Analysis, figure: str, colours: Colours, key_columns: int | None = None
) -> alt.LayerChart:
    """Learning curves with one line for each run and a point at its best epoch.

    `figure` is a key of FIGURES. The chart's parameter `focus` names one architecture to
    highlight; if empty, those of `coloured` are. `key_columns` sets the legend columns; by
    default, as many as the page has room for.
    """
    import altair as alt

    title, form = FIGURES[figure]
    colour, dash = series(analysis, colours, key_columns)
    base = alt.Chart(alt.InlineData(values=curve_data(analysis, figure))).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, tickCount=12, format="d", grid=False)),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, nice=True)),
        color=colour,
        opacity=alt.condition(
            "focus ? focus == datum.name : datum.own", alt.value(0.95), alt.value(0.18)
        ),
        detail="seed:N",
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    best = base.transform_filter("datum.best").mark_point(filled=True, size=70)
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip("seed:Q"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("value:Q", title=title, format=form),
    ]
    # Lines are hard to hover, so every epoch gets an invisible point.
    hover_points = base.mark_point(size=60, filled=True).encode(
        opacity=alt.value(0), tooltip=tooltip
    )
    focus = alt.param(name="focus", value="")
    chart: alt.LayerChart = layered([lines, best, hover_points], HEIGHT).add_params(focus)
    return chart
