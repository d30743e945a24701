"""Log deployed variants to the MLflow run of their run: metrics with a prefix, files as models."""

from __future__ import annotations

import datetime
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from benchmark.runs.deployments import HERE, Artifact, Deployed, Deployments
from benchmark.runs.find import FinishedRun
from benchmark.tracking.connection import timeout_for
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.run_fields import FINAL_STEP

PREFIX = "deploy"
ONNX = ".onnx"


def log_deployments(store: MlflowStore, finished: FinishedRun) -> None:
    """Log all variants of a run, which must be in the store; logging twice changes nothing."""
    from mlflow.entities import Metric

    client, run = store.logged(finished.record.run_id)
    mlflow_id = run.info.run_id
    deployments = Deployments(finished.folder.path)
    items = deployments.all()
    for item in items:
        measured_at = datetime.datetime.fromisoformat(item.timing.measured_at)
        at_ms = int(measured_at.timestamp() * 1000)
        metrics = deployment_metrics(item)
        points = [Metric(name, value, at_ms, FINAL_STEP) for name, value in metrics.items()]
        client.log_batch(mlflow_id, points)
    for artifact in {item.artifact.variant: item.artifact for item in items}.values():
        _log_files(client, mlflow_id, deployments, artifact)


def deployment_metrics(item: Deployed) -> dict[str, float]:
    """Metrics of one variant on one device, such as `deploy/onnxruntime-int8/latency_ms`.

    The name of a device other than the local one is part of the key. Times that were measured on a
    busy machine are left out.
    """
    timing, accuracy = item.timing, item.accuracy
    parts = [PREFIX, item.artifact.variant]
    parts += [] if timing.device.name == HERE else [timing.device.name]
    metrics: dict[str, float] = {"size_mib": item.artifact.size_bytes / 2**20}
    if accuracy is not None:
        metrics |= {
            "accuracy": accuracy.accuracy,
            "macro_f1": accuracy.macro_f1,
            "calibration_error": accuracy.calibration_error,
            "accuracy_difference": accuracy.difference,
        }
    if not timing.busy:
        metrics |= {
            "latency_ms": timing.latency_ms_median,
            "latency_ms_p95": timing.latency_ms_p95,
            "images_per_second": timing.images_per_second,
            "load_s": timing.load_s,
        }
    if timing.memory_bytes is not None:
        metrics["memory_mib"] = timing.memory_bytes / 2**20
    return {"/".join([*parts, name]): value for name, value in metrics.items()}


def _log_files(client: Any, mlflow_id: str, deployments: Deployments, artifact: Artifact) -> None:
    """Upload the files of a variant; an ONNX file becomes an MLflow model."""
    folder = deployments.folder(artifact)
    target = f"{PREFIX}/{artifact.variant}"
    names = [name for name in artifact.files if name.endswith(ONNX)]
    with tempfile.TemporaryDirectory() as temporary, timeout_for(artifact.size_bytes):
        if names and importlib.util.find_spec("onnx") is not None:
            model = Path(temporary, "model")
            _write_model(folder / names[0], model)
            client.log_artifacts(mlflow_id, str(model), target)
            return
        for name in artifact.files:
            client.log_artifact(mlflow_id, str(folder / name), target)


def _write_model(onnx_file: Path, folder: Path) -> None:
    import mlflow.onnx
    import onnx

    mlflow.onnx.save_model(
        onnx.load(onnx_file), str(folder), pip_requirements=["onnxruntime", "numpy"]
    )
