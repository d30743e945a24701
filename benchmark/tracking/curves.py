"""Log learning curves to the MLflow run of their run, as metrics by the number of images."""

from __future__ import annotations

import time

from benchmark.report.learning_curves import RowCurve
from benchmark.tracking.mlflow_store import MlflowStore

PREFIX = "curve"


def log_curve(store: MlflowStore, curve: RowCurve) -> None:
    """Log a curve to its run, which must be in the store; logging twice changes nothing.

    The step of `curve/test_accuracy` is the number of training images.
    """
    from mlflow.entities import Metric

    client, run = store.logged(curve.record.run_id)
    at_ms = int(time.time() * 1000)
    points = [
        Metric(f"{PREFIX}/test_accuracy", size.accuracy, at_ms, size.images) for size in curve.sizes
    ]
    whole = curve.sizes[-1].images
    points += [
        Metric(f"{PREFIX}/{name}", value, at_ms, whole) for name, value in curve.metrics().items()
    ]
    client.log_batch(run.info.run_id, points)
