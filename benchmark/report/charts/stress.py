"""Mean accuracy under corruption by severity, a line for each architecture."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmark.report.analysis import Analysis
from benchmark.report.charts.curves import HEIGHT, series
from benchmark.report.charts.shared import Data, layered, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.stress import shared_conditions

if TYPE_CHECKING:
    import altair as alt


def severity_data(analysis: Analysis) -> Data:
    """Chart data: a point for each severity of each row; accuracies in percent."""
    found = analysis.stress.rows
    conditions = shared_conditions(found)
    names = {
        row.name: name for row, name in zip(analysis.rows, names_of(analysis.rows), strict=True)
    }
    points: Data = []
    for item in found:
        by_severity = {0: [item.clean]}
        for condition in conditions:
            by_severity.setdefault(condition[1], []).append(item.accuracies[condition])
        points += [
            {
                "name": names[item.row.name],
                "severity": severity,
                "value": float(f"{100 * statistics.fmean(values):.5g}"),
            }
            for severity, values in sorted(by_severity.items())
        ]
    return points


def draw(analysis: Analysis, colours: Colours, key_columns: int | None = None) -> alt.LayerChart:
    """One line for each stressed row. `key_columns` is as in `curves`."""
    import altair as alt

    colour, dash = series(analysis, colours, key_columns)
    axis = alt.Axis(values=[0, 1, 2, 3, 4, 5], format="d", grid=False)
    base = alt.Chart(alt.InlineData(values=severity_data(analysis))).encode(
        x=alt.X("severity:Q", title="severity", axis=axis),
        y=alt.Y("value:Q", title="test accuracy (%)", scale=alt.Scale(zero=False, nice=True)),
        color=colour,
    )
    tooltip = [
        alt.Tooltip("name:N", title="architecture"),
        alt.Tooltip("severity:Q"),
        alt.Tooltip("value:Q", title="test accuracy (%)", format=".2f"),
    ]
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=50).encode(tooltip=tooltip)
    chart: alt.LayerChart = layered([lines, dots], HEIGHT)
    return chart
