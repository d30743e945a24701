"""Learning curves of all runs, with a few architectures highlighted in colour."""

from __future__ import annotations

import numpy as np

from benchmark.report.analysis import Analysis
from benchmark.report.charts.shared import Data, Spec, field, layer, layered, names_of
from benchmark.report.charts.style import DASHES, Colours
from clothclf.results import TrainingResult

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
) -> tuple[Spec, Spec]:
    """Colour and dash of each row's line, with a legend of `key_columns` columns as in `curves`."""
    chosen = coloured(analysis)
    others = [name for name in names_of(analysis.rows) if name not in chosen]
    domain = [*chosen, *others]
    shades = [*colours.series[: len(chosen)], *[colours.muted] * len(others)]
    dashes = [list(dash) for dash in DASHES[: len(chosen)]] + [[1, 0]] * len(others)
    # The plot's own width shrinks when axes are drawn; the legend would then need another row
    # for which no space is reserved.
    columns = {"expr": PAGE_COLUMNS} if key_columns is None else key_columns
    symbol = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 2}
    key = {"columns": columns, "values": chosen, **symbol}
    return (
        field("name:N", scale={"domain": domain, "range": shades}, legend=key),
        field("name:N", scale={"domain": domain, "range": dashes}, legend=key),
    )


def lines_with_points(
    analysis: Analysis,
    points: Data,
    x: Spec,
    titles: tuple[str, str],
    colours: Colours,
    key_columns: int | None = None,
) -> Spec:
    """One line for each row with points, whose accuracies `value` are in percent.

    `titles` are those of the y axis and of a value in tooltips; `key_columns` is as in `curves`.
    """
    colour, dash = series(analysis, colours, key_columns)
    y = field("value:Q", title=titles[0], scale={"zero": False, "nice": True})
    tooltip = [
        field("name:N", title="architecture"),
        field(f"{x['field']}:Q"),
        field("value:Q", title=titles[1], format=".2f"),
    ]
    encoding = {"x": x, "y": y, "color": colour}
    lines = layer("line", {**encoding, "strokeDash": dash}, strokeWidth=2)
    dots = layer("point", {**encoding, "tooltip": tooltip}, filled=True, size=50)
    return layered([lines, dots], HEIGHT, points)


def curves(
    analysis: Analysis, figure: str, colours: Colours, key_columns: int | None = None
) -> Spec:
    """Learning curves with one line for each run and a point at its best epoch.

    `figure` is a key of FIGURES. The chart's parameter `focus` names one architecture to
    highlight; if empty, those of `coloured` are. `key_columns` sets the legend columns; by
    default, as many as the page has room for.
    """
    title, form = FIGURES[figure]
    colour, dash = series(analysis, colours, key_columns)
    in_focus = {"test": "focus ? focus == datum.name : datum.own", "value": 0.95}
    axis = {"tickMinStep": 1, "tickCount": 12, "format": "d", "grid": False}
    encoding = {
        "x": field("epoch:Q", axis=axis),
        "y": field("value:Q", title=title, scale={"zero": False, "nice": True}),
        "color": colour,
        "opacity": {"condition": in_focus, "value": 0.18},
        "detail": field("seed:N"),
    }
    lines = layer("line", {**encoding, "strokeDash": dash}, strokeWidth=2)
    best = layer("point", encoding, where="datum.best", filled=True, size=70)
    tooltip = [
        field("name:N", title="architecture"),
        field("seed:Q"),
        field("epoch:Q"),
        field("value:Q", title=title, format=form),
    ]
    # Lines are hard to hover, so every epoch gets an invisible point.
    unseen = {**encoding, "opacity": {"value": 0}, "tooltip": tooltip}
    hover_points = layer("point", unseen, size=60, filled=True)
    chart = layered([lines, best, hover_points], HEIGHT, curve_data(analysis, figure))
    return {**chart, "params": [{"name": "focus", "value": ""}]}
