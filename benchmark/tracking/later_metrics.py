"""Log metrics that were measured after a run, by other commands, to the MLflow run of the run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

from benchmark.report.learning_curves import RowCurve
from benchmark.report.stress import read_accuracies
from benchmark.runs.find import FinishedRun
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.run_fields import FINAL_STEP


def log_curve(store: MlflowStore, curve: RowCurve) -> None:
    """Log a learning curve to its run; the step is the number of training images."""
    whole = curve.sizes[-1].images
    sizes = [("curve/test_accuracy", size.accuracy, size.images) for size in curve.sizes]
    figures = [(f"curve/{name}", value, whole) for name, value in curve.metrics().items()]
    _log(store, curve.record.run_id, [*sizes, *figures])


def log_stress(store: MlflowStore, run: FinishedRun) -> None:
    """Log the stored accuracies of a run under corruption and their mean."""
    values = read_accuracies(run.folder.path, run.record)
    metrics = {f"stress/{name}-{severity}": value for (name, severity), value in values.items()}
    if values:
        metrics["stress/mean_accuracy"] = statistics.fmean(values.values())
    points = [(name, value, FINAL_STEP) for name, value in metrics.items()]
    _log(store, run.record.run_id, points)


def _log(store: MlflowStore, run_id: str, points: Iterable[tuple[str, float, int]]) -> None:
    """Log names, values and steps to a run, which must be in the store; twice changes nothing."""
    from mlflow.entities import Metric

    client, run = store.logged(run_id)
    at_ms = int(time.time() * 1000)
    client.log_batch(run.info.run_id, [Metric(*point[:2], at_ms, point[2]) for point in points])
