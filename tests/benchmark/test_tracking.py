"""MLflow holds every run once, complete, and is filled again from the run folders."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.errors import TrackingError
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, study_folders
from benchmark.runs.spec import RunSpec
from benchmark.tracking.comparison_view import RUNS_ONLY
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.system_metrics import SystemWatch, forget_samples, samples_of
from clothclf.settings import TrainSettings
from tests.benchmark.conftest import StudyRun, run_bench
from tests.benchmark.examples import DATA, make_spec

CPU = "system/cpu_utilization_percentage"


def client_of(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlruns/mlflow.db")


def client_at(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder}/m.db")


def runs_of(folder: Path, study: str = "tiny", kind: str = "run") -> list[Any]:
    """All active MLflow runs of a kind in a study's experiment; earlier formats have no kind."""
    client = client_of(folder)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    result = client.search_runs([experiment.experiment_id])
    return [run for run in result if run.data.tags.get("bench.kind", "run") == kind]


def test_a_study_is_one_experiment_with_flat_finished_runs(tiny_study: StudyRun) -> None:
    runs = runs_of(tiny_study.folder)
    assert {run.info.run_name for run in runs} == {"test_resnet-s0", "test_efficientnet-s0"}
    for run in runs:
        assert run.info.status == "FINISHED"
        assert "mlflow.parentRunId" not in run.data.tags


def test_a_run_carries_metrics_tags_data_and_artifacts(tiny_study: StudyRun) -> None:
    client = client_of(tiny_study.folder)
    for run in runs_of(tiny_study.folder):
        metrics, tags = run.data.metrics, run.data.tags
        assert {"test/accuracy", "test/macro_f1", "cost/macs", "cost/params"} <= set(metrics)
        assert {"best/valid_accuracy", "time/train_s", "counters/flopth_gmacs"} <= set(metrics)
        assert metrics["cost/gflops"] == 2 * metrics["cost/gmacs"]
        assert metrics["cost/gmacs"] == metrics["cost/macs"] / 1e9
        assert all("/" in name for name in metrics)
        assert tags["bench.synthetic_data"] == "true"
        assert tags["bench.kind"] == "run"
        assert tags["bench.architecture"] == run.data.params["architecture"]
        assert {"bench.run_id", "bench.study", "bench.protocol", "bench.device"} <= set(tags)
        assert "torch " in tags["bench.versions"]
        history = client.get_metric_history(run.info.run_id, "valid/accuracy")
        assert [point.step for point in history] == [1, 2]
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.digest == tags["bench.data_fingerprint"]
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "manifest.parquet", "predictions.parquet"} <= names
        assert {"confusion.png", "model", "record.json"} <= names
        assert "model.safetensors" not in names  # it is in the model, and not there twice


def test_parameters_are_few_and_short(tiny_study: StudyRun) -> None:
    """What people group by; constants of a study's recipe are in a tag."""
    (run, *_) = runs_of(tiny_study.folder)
    assert set(run.data.params) == {
        *("architecture", "seed", "mode", "weights", "head", "precision"),
        *("image_size", "batch_size", "epochs", "learning_rate"),
    }
    assert run.data.params["learning_rate"] == "0.01"
    assert run.data.params["weights"] == "random"
    assert run.data.params["head"] == "linear"
    assert "sgd, momentum 0.9" in run.data.tags["bench.recipe"]


def test_what_has_one_value_is_a_bar_and_what_has_epochs_a_curve(tiny_study: StudyRun) -> None:
    """MLflow's page draws a curve of any metric with a step above 0, be it a single dot."""
    client = client_of(tiny_study.folder)
    for run in runs_of(tiny_study.folder):
        for name in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
            curve = name.startswith(("train/", "valid/", "system/"))
            assert curve or steps == [0], name


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


def test_what_a_lost_store_left_behind_is_not_taken_for_the_new_one_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's log of a store that was open when it was deleted would be read into the next."""
    monkeypatch.delenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS")
    lost, root = tmp_path / "lost", tmp_path / "mlruns"
    lost.mkdir()
    store = MlflowStore(f"sqlite:///{lost}/mlflow.db", "before", lost)
    assert (lost / "mlflow.db-wal").stat().st_size > 0
    shutil.copytree(lost, root)
    (root / "mlflow.db").unlink()
    again = MlflowStore(f"sqlite:///{root}/mlflow.db", "after", root)
    names = [{result.name for result in of.client.search_experiments()} for of in (store, again)]
    assert names == [{"Default", "before"}, {"Default", "after"}]


def test_finishing_twice_does_not_double_a_run(tiny_study: StudyRun, tmp_path: Path) -> None:
    """What an attempt that was left open has logged is not logged again."""
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    folder = next(study_folders(tiny_study.folder / "mlruns", "tiny"))
    record = folder.record()
    assert record is not None
    store.start(record.spec)
    store.log_epochs(record.spec, record.training.epochs[:1])
    restarted = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    assert restarted.log_result(folder)
    assert not restarted.log_result(folder)
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
    assert "saved in the run folders" in warning


def a_record(study: StudyRun) -> tuple[RunFolder, RunRecord]:
    folder = next(study_folders(study.folder / "mlruns", "tiny"))
    record = folder.record()
    assert record is not None
    return folder, record


def test_a_run_that_an_earlier_bench_logged_is_logged_anew(
    tiny_study: StudyRun, tmp_path: Path
) -> None:
    """Two sets of names side by side could not be compared."""
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    folder, record = a_record(tiny_study)
    client = client_at(tmp_path)
    old = client.create_run(store.experiment_id, tags={"bench.run_id": record.run_id})
    client.log_param(old.info.run_id, "train.batch_size", 16)
    client.set_terminated(old.info.run_id, "FINISHED")
    assert store.log_result(folder)
    assert not store.log_result(folder)
    (run,) = client.search_runs([store.experiment_id])
    assert run.data.params["batch_size"] == "16"
    assert "train.batch_size" not in run.data.params


def test_a_run_is_logged_in_few_calls(
    tiny_study: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a round trip to a server; files are one each."""
    from mlflow import MlflowClient

    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    folder, _ = a_record(tiny_study)
    calls: list[str] = []
    for name in [n for n in dir(MlflowClient) if n.startswith(("log_", "set_", "create_"))]:
        method = getattr(MlflowClient, name)

        def counted(*args: Any, _name: str = name, _method: Any = method, **options: Any) -> Any:
            calls.append(_name)
            return _method(*args, **options)

        monkeypatch.setattr(MlflowClient, name, counted)
    assert store.log_result(folder)
    assert calls.count("log_batch") == 3, calls  # parameters, epochs, final figures with tags
    assert len(calls) - calls.count("log_artifact") <= 8, calls
    of_the_model = 5  # but for its tensors, which are a file of the run
    assert calls.count("log_artifact") == len(folder.results()) + 1 + of_the_model


def test_samples_of_the_machine_are_logged_once_and_again_after_a_loss(
    tiny_study: StudyRun, tmp_path: Path
) -> None:
    """From their file, in which a line may be cut short by a crash."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study.folder, copy)
    folder = next(study_folders(copy / "mlruns", "tiny"))
    record = folder.record()
    assert record is not None
    place = folder.path.parent / ".system"
    place.mkdir(exist_ok=True)
    lines = [
        json.dumps({"at_ms": 1_700_000_000_000 + 10_000 * n, "metrics": {CPU: 50.0 + n}})
        for n in range(3)
    ]
    (place / f"{folder.path.name}.jsonl").write_text("\n".join([*lines, lines[0][:20]]))
    for number in range(2):
        store = MlflowStore(f"sqlite:///{tmp_path}/{number}.db", "tiny", tmp_path)
        store.start(record.spec)
        store.log_samples(folder, record.run_id)  # they wait for the first epoch
        store.log_epochs(record.spec, record.training.epochs[:1])
        store.log_samples(folder, record.run_id)
        again = MlflowStore(f"sqlite:///{tmp_path}/{number}.db", "tiny", tmp_path)
        assert again.log_result(folder)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/{number}.db")
        (run,) = client.search_runs([again.experiment_id])
        points = client.get_metric_history(run.info.run_id, CPU)
        result = sorted((point.step, point.value) for point in points)
        assert result == [(0, 50.0), (10, 51.0), (20, 52.0)]


def test_a_run_is_watched_while_it_has_a_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "a-run")
    folder.path.mkdir(parents=True)
    watch = SystemWatch(folder)
    assert not watch.is_due()
    assert not watch.sample()
    work = "import time, sys\nkept = bytearray(50_000_000)\nprint(1, flush=True)\ntime.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", work, str(folder.path)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert watch.sample()
    finally:
        process.kill()
        process.wait()
    assert not watch.sample()
    (sample,) = samples_of(folder)
    assert 0 <= sample.metrics[CPU] <= 100
    assert 50 <= sample.metrics["system/run_memory_megabytes"] < 1000
    assert sample.metrics["system/run_busy_cores"] >= 0
    forget_samples(folder)
    assert samples_of(folder) == []


def test_the_report_is_one_run_of_its_own_kind(tiny_study: StudyRun, tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    folder, _ = a_record(tiny_study)
    assert store.log_result(folder)
    client = client_at(tmp_path)
    table = pd.DataFrame({"architecture": ["a", "b"], "accuracy": [0.5, None]})
    figure = tmp_path / "pareto.png"
    figure.write_bytes(b"one")
    first = store.log_report({"report.md": "# one", "old.md": "x"}, table, [figure])
    assert store.log_report({"report.md": "# one", "old.md": "x"}, table, [figure]) == first
    figure.write_bytes(b"two")
    second = store.log_report({"report.md": "# two"}, table, [figure])
    assert second != first
    runs = client.search_runs([store.experiment_id])
    (report,) = [run for run in runs if run.data.tags["bench.kind"] == "report"]
    assert (report.info.run_id, report.info.status) == (second, "FINISHED")
    names = {item.path for item in client.list_artifacts(second)}
    assert names == {"report.md", "table.json", "figures"}
    written = json.loads(Path(client.download_artifacts(second, "table.json")).read_text())
    assert written["data"] == [["a", 0.5], ["b", None]]
    assert '"type": "table"' in report.data.tags["mlflow.loggedArtifacts"]
    # It neither is taken for a run, nor keeps one from being found.
    assert not MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path).log_result(folder)
    alone = client.search_runs([store.experiment_id], filter_string=RUNS_ONLY)
    assert [run.info.run_name for run in alone] == [folder.spec().name]  # type: ignore[union-attr]


def test_a_report_that_was_cut_short_is_logged_again(tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    client = client_at(tmp_path)
    client.create_run(store.experiment_id, tags={"bench.kind": "report"})
    created = store.log_report({"report.md": "x"}, pd.DataFrame({"a": [1]}), [])
    (run,) = client.search_runs([store.experiment_id])
    assert (run.info.run_id, run.info.status) == (created, "FINISHED")


def test_the_answer_describes_report_and_experiment(tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    client = client_at(tmp_path)
    table = pd.DataFrame({"a": [1]})
    for pick in ("vgg16", "resnet18"):
        figures = {"pick/test_accuracy": 0.875, "pick/gmacs": 1.82}
        created = store.log_report({"report.md": "x"}, table, [], f"**Pick {pick}.**", figures)
        run = client.get_run(created)
        assert run.data.tags["mlflow.note.content"].startswith(f"**Pick {pick}.**\n")
        assert run.data.metrics == figures
        tags = client.get_experiment(store.experiment_id).tags
        assert tags["mlflow.note.content"].startswith(f"**Pick {pick}.**\n")
        assert "viewStateShareKey=bench" in tags["mlflow.note.content"]
        assert "mlflow.sharedViewState.bench" in tags


def test_a_description_by_a_user_is_kept(tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    client = client_at(tmp_path)
    client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "Mine.")
    store.log_report({"report.md": "x"}, pd.DataFrame({"a": [1]}), [], "**Pick vgg16.**")
    assert client.get_experiment(store.experiment_id).tags["mlflow.note.content"] == "Mine."


def test_a_long_answer_fits_into_a_tag_of_any_server(tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    store.log_report({"report.md": "x"}, pd.DataFrame({"a": [1]}), [], "x" * 9000)
    client = client_at(tmp_path)
    (run,) = client.search_runs([store.experiment_id])
    for tags in (run.data.tags, client.get_experiment(store.experiment_id).tags):
        assert 4000 < len(tags["mlflow.note.content"]) < 5000


def test_the_view_of_a_study_is_laid_down_once_and_short(tmp_path: Path) -> None:
    """Servers before 3.17 take 5,000 characters in a tag."""
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "tiny", tmp_path)
    for _ in range(2):
        store.prepare_view()
    tags = client_at(tmp_path).get_experiment(store.experiment_id).tags
    state = json.loads(tags["mlflow.sharedViewState.bench"])
    assert len(tags["mlflow.sharedViewState.bench"]) < 5000
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections
    assert state["searchFilter"] == RUNS_ONLY


def start_runs(store: MlflowStore, root: Path, *specs: RunSpec) -> None:
    """Log the beginning of runs whose folders lie below the tracking folder."""
    for spec in specs:
        RunFolder.of(root, spec).start(spec)
        store.start(spec)


def test_runs_of_one_name_are_reported_apart_by_what_differs(tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "s", tmp_path)
    other_data = dataclasses.replace(DATA, fingerprint="e" * 16)
    start_runs(
        store,
        tmp_path,
        make_spec(),
        make_spec(train=TrainSettings(learning_rate=0.01)),
        make_spec(train=TrainSettings(learning_rate=0.01, epochs=3)),
        make_spec("vgg16", seed=1, train=TrainSettings(epochs=3)),
        make_spec(seed=1, train=TrainSettings(epochs=3), data_summary=other_data),
    )
    names = [run.info.run_name for run in client_at(tmp_path).search_runs([store.experiment_id])]
    assert set(names) == {
        "vgg16-s0",
        "vgg16-s0 learning_rate=0.01",
        "vgg16-s0 epochs=3, learning_rate=0.01",
        "vgg16-s1",
        f"vgg16-s1 fingerprint={'e' * 16}",
    }


def test_the_view_shows_the_newest_protocol_and_data_alone(tmp_path: Path) -> None:
    """Accuracies of other images and epochs are no order of the architectures."""
    store = MlflowStore(f"sqlite:///{tmp_path}/m.db", "s", tmp_path)
    other_data = dataclasses.replace(DATA, fingerprint="e" * 16)
    longer = TrainSettings(epochs=30)
    start_runs(store, tmp_path, make_spec(), make_spec(train=longer, data_summary=other_data))
    start_runs(store, tmp_path, make_spec(train=TrainSettings(batch_size=64)))
    time.sleep(0.01)  # MLflow's moments are in ms
    start_runs(store, tmp_path, make_spec(train=longer), make_spec("resnet18", train=longer))
    store.prepare_view()
    client = client_at(tmp_path)
    tags = client.get_experiment(store.experiment_id).tags
    shown = json.loads(tags["mlflow.sharedViewState.bench"])["searchFilter"]
    result = client.search_runs([store.experiment_id], filter_string=shown)
    assert {run.data.tags["bench.architecture"] for run in result} == {"vgg16", "resnet18"}
    assert {run.data.params["epochs"] for run in result} == {"30"}
    assert {run.data.tags["bench.data_fingerprint"] for run in result} == {DATA.fingerprint}


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:9", "sqlite:////dev/null/m.db", "mysterious://x", "http://["],
)
def test_an_unusable_store_is_reported_in_one_sentence(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        MlflowStore(uri, "s", tmp_path)
    assert "\n" not in str(caught.value)
    assert "tracking.uri" in str(caught.value)


def test_a_password_in_the_uri_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        MlflowStore("http://me:secret@127.0.0.1:9", "s", tmp_path)
    assert "secret" not in str(caught.value)
