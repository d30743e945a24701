"""Log accuracies under corruption to the MLflow run of their run, as metrics with a prefix."""

from __future__ import annotations

import statistics
import time

from benchmark.report.stress import read_accuracies
from benchmark.runs.find import FoundRun
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.run_fields import FINAL_STEP

PREFIX = "stress"


def log_stress(store: MlflowStore, found: FoundRun) -> None:
    """Log the stored accuracies of a run, such as `stress/fog-3`, and their mean."""
    from mlflow.entities import Metric

    values = read_accuracies(found.folder.path, found.record)
    metrics = {f"{PREFIX}/{name}-{severity}": value for (name, severity), value in values.items()}
    if values:
        metrics[f"{PREFIX}/mean_accuracy"] = statistics.fmean(values.values())
    client, run = store.logged(found.record.run_id)
    at_ms = int(time.time() * 1000)
    points = [Metric(name, value, at_ms, FINAL_STEP) for name, value in metrics.items()]
    client.log_batch(run.info.run_id, points)
