"""Log a study's report, plots and table to the MLflow store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import TrackingError
from benchmark.runs.root import open_store, tracking_uri
from benchmark.tracking.connection import first_line
from benchmark.tracking.mlflow_store import MlflowStore

if TYPE_CHECKING:
    from benchmark.report.write import Report

TEXTS = {"report.html": "html", "report.md": "md", "report.csv": "csv", "report.json": "json"}


def publish_unless_there(report: Report, store: MlflowStore) -> None:
    """Log a report unless the store has one, even an older one; raises TrackingError."""
    try:
        found = store.has_report()
    except Exception as error:  # database, network or disk
        raise TrackingError(f"{store.shown_uri}: MLflow failed: {first_line(error)}") from None
    if not found:
        publish(report, store)


def publish(report: Report, store: MlflowStore | None = None) -> str:
    """Log a report as the study's single report run; return its MLflow run id.

    Opens the study's store if `store` is not given. Raises TrackingError if logging fails.
    """
    import pandas as pd

    from benchmark.report.charts.chart_files import write_plots

    study = report.study
    store = store or MlflowStore(tracking_uri(study), study.study, open_store(study))
    texts = {name: report.text(form) for name, form in TEXTS.items()}
    table = pd.DataFrame(report.table())
    try:
        with tempfile.TemporaryDirectory() as folder:
            return store.log_report(texts, table, write_plots(report.analyses[0], Path(folder)))
    except Exception as error:  # database, network or disk
        raise TrackingError(
            f"{store.shown_uri}: the report could not be logged to MLflow: {first_line(error)}; "
            "retry with `bench report --log`"
        ) from None
