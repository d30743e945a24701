"""Charts and per-class results of the HTML report."""

from __future__ import annotations

from typing import Any

from benchmark.report import render
from benchmark.report.analysis import Analysis, RowStatistics
from benchmark.report.charts import confusion as chart_confusion
from benchmark.report.charts import curves as chart_curves
from benchmark.report.charts import pareto as chart_pareto
from benchmark.report.charts import seeds as chart_seeds
from benchmark.report.charts import shared as charts
from benchmark.report.charts.style import VARIABLES
from benchmark.report.page.criteria import asked
from benchmark.report.rows import Row
from benchmark.report.sections import sections


def page_data(analysis: Analysis) -> dict[str, Any]:
    """Data of one comparison for the page's script, as JSON values.

    `pareto` has one chart for each cost; `results` has the per-class results of each row.
    """
    if not analysis.rows:
        return {"names": [], "pareto": {}, "curves": {}, "confusion": None, "results": []}
    pareto = {
        column.key: charts.to_spec(
            chart_pareto.pareto(analysis, column, VARIABLES),
            VARIABLES,
            f"Test accuracy of each architecture vs. {column.title}",
        )
        for column in chart_pareto.cost_columns(analysis)
    }
    curves = {
        figure: charts.to_spec(
            chart_curves.curves(analysis, figure, VARIABLES), VARIABLES, f"{title} by epoch"
        )
        for figure, (title, _) in chart_curves.FIGURES.items()
    }
    return {
        "names": charts.names_of(analysis.rows),
        "pareto": pareto,
        "spread": charts.to_spec(
            chart_seeds.seed_spread(analysis, VARIABLES), VARIABLES, "Test accuracy of each seed"
        ),
        "curves": curves,
        "optional": _optional(analysis),
        "confusion": _confusion(analysis),
        "results": _results_by_class(analysis),
        "classes": list(analysis.test.classes) if analysis.test else [],
        "ask": asked(analysis),
    }


def _optional(analysis: Analysis) -> dict[str, Any]:
    """Charts of the optional sections by name."""
    return {
        chart.name: charts.to_spec(chart.draw(analysis, VARIABLES), VARIABLES, chart.title)
        for _, section in sections(analysis)
        for chart in section.charts
    }


def _confusion(analysis: Analysis) -> dict[str, Any] | None:
    """Confusion matrix of the row shown first; the script replaces its data for other rows."""
    index = first_shown(analysis)
    if index is None:
        return None
    chart = chart_confusion.confusion(analysis, index, VARIABLES)
    shown = chart_confusion.shown_classes(analysis)
    classes = analysis.test.classes if analysis.test else ()
    return {
        "spec": charts.to_spec(chart, VARIABLES, "Confusion matrix by true class"),
        "labels": [classes[number] for number in shown],
        "data": chart_confusion.DATA,
    }


def first_shown(analysis: Analysis) -> int | None:
    """Index of the row shown first: the pick, else the first row with predictions."""
    indices = [index for index, figures in enumerate(analysis.statistics) if figures is not None]
    pick = analysis.pick.chosen if analysis.pick else None
    picked = [index for index in indices if analysis.rows[index] is pick]
    return next(iter([*picked, *indices]), None)


def _results_by_class(analysis: Analysis) -> list[dict[str, Any]]:
    shown = chart_confusion.shown_classes(analysis)
    first = first_shown(analysis)
    return [
        _predictions_of(row, figures, name, shown) | {"first": index == first}
        for index, (row, figures, name) in enumerate(
            zip(analysis.rows, analysis.statistics, charts.names_of(analysis.rows), strict=True)
        )
        if figures is not None
    ]


def _predictions_of(
    row: Row, figures: RowStatistics, name: str, shown: list[int]
) -> dict[str, Any]:
    return {
        "name": name,
        "seeds": len(row.seeds),
        "classes": [
            [result.label, result.images, _short(result.precision), _short(result.recall),
             _short(result.f1)]
            for result in figures.per_class
        ],
        "hardest": [
            [pair.label, pair.predicted, round(pair.images, 2), _short(pair.share)]
            for pair in figures.hardest
        ],
        "calibration": render.calibration_text(
            figures.calibration_error, figures.calibrated_error, digits=1
        ),
        "coverage": _short(figures.accuracy_at_coverage),
        "cells": chart_confusion.cells(figures.confusion, shown, len(row.seeds)),
    }  # fmt: skip


def _short(share: float) -> float:
    return round(float(share), 4)
