"""Log a study's report, plots and table to the MLflow store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import TrackingError
from benchmark.report.columns import COLUMNS
from benchmark.report.formats import FORMATS
from benchmark.runs.root import open_store, tracking_uri
from benchmark.text.numbers import inline
from benchmark.tracking.connection import first_line
from benchmark.tracking.mlflow_store import MlflowStore

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis
    from benchmark.report.write import Report

FIGURES = {"pick/gmacs": "macs", "pick/latency_ms": "latency", "pick/mparams": "params"}
"""Metrics of the report run by column of the report."""
TEXTS = {f"report{item.suffix}": item.name for item in FORMATS.values() if item.logged}
"""Formats of the report run by file name."""


def publish_if_missing(report: Report, store: MlflowStore) -> None:
    """Log a report unless the store has one, even an older one; raises TrackingError."""
    try:
        exists = store.has_report()
    except Exception as error:  # database, network or disk
        raise TrackingError(f"{store.shown_uri}: MLflow failed: {first_line(error)}") from None
    if not exists:
        publish(report, store)


def publish(report: Report, store: MlflowStore | None = None) -> str:
    """Log a report as the study's single report run; return its MLflow run id.

    Opens the study's store if `store` is not given. Raises TrackingError if logging fails.
    """
    import pandas as pd

    from benchmark.report.charts.chart_files import write_plots

    study, newest = report.study, report.analyses[0]
    store = store or MlflowStore(tracking_uri(study), study.study, open_store(study))
    texts = {name: report.text(form) for name, form in TEXTS.items()}
    table = pd.DataFrame(report.table())
    try:
        with tempfile.TemporaryDirectory() as folder:
            plots = write_plots(newest, Path(folder))
            note, figures = pick_note(newest), pick_figures(newest)
            return store.log_report(texts, table, plots, note, figures)
    except Exception as error:  # database, network or disk
        raise TrackingError(
            f"{store.shown_uri}: the report could not be logged to MLflow: {first_line(error)}; "
            "retry with `bench report --log`"
        ) from None


def pick_note(analysis: Analysis) -> str:
    """Return the pick, its runner-up and what makes the choice uncertain, as Markdown."""
    pick = analysis.pick
    if pick is None:
        return ""
    return "\n\n".join(inline(part) for part in (f"**{pick.sentence}**", pick.beside) if part)


def pick_figures(analysis: Analysis) -> dict[str, float]:
    """Return the figures of the pick that are known, under their names in MLflow."""
    chosen = analysis.pick.chosen if analysis.pick else None
    if chosen is None:
        return {}
    costs = {name: COLUMNS[key].of(chosen) for name, key in FIGURES.items()}
    known = {name: value for name, value in costs.items() if value is not None}
    return {"pick/test_accuracy": chosen.accuracy, **known}
