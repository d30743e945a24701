"""Mean accuracy under corruption by severity, a line for each architecture."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmark.report.analysis import Analysis
from benchmark.report.charts.curves import lines_with_points
from benchmark.report.charts.shared import Data, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.stress import shared_conditions
from clothclf.data.corruption_names import SEVERITIES

if TYPE_CHECKING:
    import altair as alt


def severity_data(analysis: Analysis) -> Data:
    """Chart data: a point for each severity of each row; accuracies in percent."""
    rows = analysis.stress.rows
    conditions = shared_conditions(rows)
    names = {
        row.name: name for row, name in zip(analysis.rows, names_of(analysis.rows), strict=True)
    }
    points: Data = []
    for item in rows:
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

    axis = alt.Axis(values=[0, *SEVERITIES], format="d", grid=False)
    x = alt.X("severity:Q", title="severity", axis=axis)
    titles = ("test accuracy (%)", "test accuracy (%)")
    return lines_with_points(analysis, severity_data(analysis), x, titles, colours, key_columns)
