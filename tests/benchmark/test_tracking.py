"""MLflow holds every run once, complete, and is filled again from the run folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import TrackingError
from benchmark.runner.run_folder import study_folders
from benchmark.tracking.mlflow_store import MlflowStore
from tests.benchmark.conftest import StudyRun, run_bench


def runs_of(folder: Path, study: str = "tiny") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_study_is_one_experiment_with_flat_finished_runs(tiny_study: StudyRun) -> None:
    runs = runs_of(tiny_study.folder)
    assert {run.info.run_name for run in runs} == {"test_resnet-s0", "test_efficientnet-s0"}
    for run in runs:
        assert run.info.status == "FINISHED"
        assert "mlflow.parentRunId" not in run.data.tags


def test_a_run_carries_parameters_metrics_tags_data_and_artifacts(tiny_study: StudyRun) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tiny_study.folder}/mlruns/mlflow.db")
    for run in runs_of(tiny_study.folder):
        metrics, tags, params = run.data.metrics, run.data.tags, run.data.params
        assert {"test/accuracy", "test/macro_f1", "cost/macs", "cost/params"} <= set(metrics)
        assert {"valid/best_accuracy", "time/train_s", "cost/macs_flopth"} <= set(metrics)
        assert metrics["cost/flops"] == 2 * metrics["cost/macs"]
        assert params["train.batch_size"] == "16"
        assert params["model.mode"] == "frozen"
        assert tags["bench.synthetic_data"] == "true"
        assert {"bench.run_id", "bench.data_fingerprint", "bench.device"} <= set(tags)
        assert {"version.torch", "version.timm"} <= set(tags)
        history = client.get_metric_history(run.info.run_id, "valid/accuracy")
        assert [point.step for point in history] == [1, 2]
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.digest == tags["bench.data_fingerprint"]
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "manifest.parquet", "predictions.parquet"} <= names
        assert {"confusion.png", "model.safetensors", "record.json"} <= names


def test_a_lost_store_is_filled_again_without_training(
    tiny_study: StudyRun, tmp_path: Path
) -> None:
    """The run folders are enough: the same metrics and curves, each run once."""
    before = {run.info.run_name: run.data.metrics for run in runs_of(tiny_study.folder)}
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study.folder, copy)
    (copy / "mlruns" / "mlflow.db").unlink()
    for _ in range(2):
        again = run_bench(copy, "run", "--all", "-c", "tiny.yaml")
        assert again.code == 0, again.err
        assert "nothing to train" in again.err
    runs = runs_of(copy)
    assert len(runs) == 2
    assert {run.info.run_name: run.data.metrics for run in runs} == before


def test_finishing_twice_does_not_double_a_run(tiny_study: StudyRun, tmp_path: Path) -> None:
    """What an attempt that was left open has logged is not logged again."""
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    folder = next(study_folders(tiny_study.folder / "mlruns", "tiny"))
    record = folder.record()
    assert record is not None
    store.start(record.spec)
    store.log_epoch(record.spec, record.training.epochs[0])
    restarted = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    assert restarted.bring(folder)
    assert not restarted.bring(folder)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/m.db")
    (run,) = client.search_runs([restarted.experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 2


def test_a_store_that_fails_in_the_middle_does_not_end_the_study(
    tiny_study: StudyRun, tmp_path: Path
) -> None:
    """The tables vanish under an open store: the user is warned once and nothing is raised."""
    import sqlite3

    from benchmark.tracking.tracker import Tracker

    warnings: list[str] = []
    tracker = Tracker(MlflowStore(f"sqlite:///{tmp_path}/m.db", "t", tmp_path), warnings.append)
    with sqlite3.connect(tmp_path / "m.db") as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("DROP TABLE runs")
    for folder in study_folders(tiny_study.folder / "mlruns", "tiny"):
        record = folder.record()
        assert record is not None
        tracker.on_started(folder, record.spec, False)
        tracker.on_finished(folder, record)
    (warning,) = warnings
    assert "kept in the run folders" in warning


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:9", "sqlite:////dev/null/m.db", "mysterious://x", "http://["],
)
def test_an_unusable_store_is_told_in_one_sentence(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        MlflowStore(uri, "s", tmp_path)
    assert "\n" not in str(caught.value)
    assert "tracking.uri" in str(caught.value)


def test_a_password_in_the_uri_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        MlflowStore("http://me:secret@127.0.0.1:9", "s", tmp_path)
    assert "secret" not in str(caught.value)
