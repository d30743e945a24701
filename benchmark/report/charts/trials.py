"""Expected best validation accuracy of k trials of tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.report.analysis import Analysis
from benchmark.report.charts.curves import HEIGHT, series
from benchmark.report.charts.shared import Data, layered, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.tuning import expected_best

if TYPE_CHECKING:
    import altair as alt


def trial_data(analysis: Analysis) -> Data:
    """Chart data: a point for each number of trials of each tuned row; accuracies in percent."""
    return [
        {"name": name, "trials": count, "value": float(f"{100 * accuracy:.5g}")}
        for name, row in zip(names_of(analysis.rows), analysis.rows, strict=True)
        for count, accuracy in enumerate(expected_best(row), 1)
    ]


def draw(analysis: Analysis, colours: Colours, key_columns: int | None = None) -> alt.LayerChart:
    """One line for each tuned row. `key_columns` is as in `curves`."""
    import altair as alt

    points = trial_data(analysis)
    colour, dash = series(analysis, colours, key_columns)
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=alt.X("trials:Q", title="trials", axis=alt.Axis(tickMinStep=1, format="d", grid=False)),
        y=alt.Y("value:Q", title="validation accuracy (%)", scale=alt.Scale(zero=False, nice=True)),
        color=colour,
    )
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip("trials:Q"),
        alt.Tooltip("value:Q", title="expected best (%)", format=".2f"),
    ]
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=50).encode(tooltip=tooltip)
    chart: alt.LayerChart = layered([lines, dots], HEIGHT)
    return chart
