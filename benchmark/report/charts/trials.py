"""Expected best validation accuracy of k trials of tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.report.analysis import Analysis
from benchmark.report.charts.curves import lines_with_points
from benchmark.report.charts.shared import Data, names_of
from benchmark.report.charts.style import Colours
from benchmark.report.tuned_settings import expected_best

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

    x = alt.X("trials:Q", title="trials", axis=alt.Axis(tickMinStep=1, format="d", grid=False))
    titles = ("validation accuracy (%)", "expected best (%)")
    return lines_with_points(analysis, trial_data(analysis), x, titles, colours, key_columns)
