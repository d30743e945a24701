"""`bench runs`: what a study has, and deleting it here and in MLflow, never by half."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmark.cli import main
from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.workflows.manage_runs import locked
from clothclf.settings import TrainSettings
from tests.benchmark.examples import make_record, make_spec

Runs = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """`bench runs …` in a folder with study.yaml, whose runs lie below `mlruns`."""
    (tmp_path / "study.yaml").write_text("study: s\narchitectures: [vgg16]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(main, ["runs", *arguments, "-c", "study.yaml"], input=typed)

    return run


def finish(root: Path, architecture: str = "vgg16", **changes: Any) -> RunFolder:
    """A finished run."""
    spec = make_spec(architecture, **changes)
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    folder.write(files.RECORD, make_record(spec, 0.75))
    return folder


def fail(root: Path, architecture: str) -> RunFolder:
    """A failed run."""
    spec = make_spec(architecture)
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    (folder.path / files.LOG).write_text("Killed")
    folder.write(files.FAILURE, failure_of(spec))
    return folder


def failure_of(spec: RunSpec) -> Failure:
    return Failure(
        run_id=spec.run_id, spec=spec, stage="train", reason="r", log_tail="", at="2024-01-01"
    )


def open_runs(store: MlflowStore) -> list[Any]:
    return list(store.client.search_runs([store.experiment_id]))


def test_every_run_is_listed_with_state_and_what_tells_it_apart(runs: Runs, tmp_path: Path) -> None:
    root = tmp_path / "mlruns"
    finish(root)
    finish(root, train=TrainSettings(learning_rate=0.01))
    fail(root, "resnet18")
    for architecture in ("resnet34", "resnet50"):
        spec = make_spec(architecture)
        RunFolder.of(root, spec).start(spec)
    with locked([RunFolder.of(root, make_spec("resnet50"))]):
        done = runs("list", "--format", "json")
    assert done.exit_code == 0, done.stderr
    listed = [
        (run["name"], run["state"], run["accuracy"], run["settings"])
        for run in json.loads(done.stdout)
    ]
    assert listed[:3] == [
        ("resnet18-s0", "failed", None, "learning_rate=0.001"),
        ("resnet34-s0", "unfinished", None, "learning_rate=0.001"),
        ("resnet50-s0", "running", None, "learning_rate=0.001"),
    ]
    assert sorted(listed[3:]) == [
        ("vgg16-s0", "finished", 0.75, "learning_rate=0.001"),
        ("vgg16-s0", "finished", 0.75, "learning_rate=0.01"),
    ]
    assert "75.00 %" in runs("list").stdout


def test_a_deleted_run_is_missing_here_and_in_mlflow_with_its_artifacts(
    runs: Runs, tmp_path: Path
) -> None:
    """The others stay; a sync does not bring it back."""
    root = tmp_path / "mlruns"
    saved, missing = fail(root, "resnet18"), fail(root, "vgg16")
    store = MlflowStore(f"sqlite:///{root}/mlflow.db", "s", root)
    for folder in (saved, missing):
        assert store.log_result(folder)
    assert len(list((root / "artifacts/s").glob("*/artifacts/log.txt"))) == 2
    done = runs("delete", "vgg16-s0", typed="vgg16-s0\n")
    assert done.exit_code == 0, done.stderr
    assert (saved.path.exists(), missing.path.exists()) == (True, False)
    (left,) = open_runs(store)
    assert left.data.tags["bench.architecture"] == "resnet18"
    assert [path.name for path in (root / "artifacts/s").iterdir()] == [left.info.run_id]


def test_all_failed_runs_are_deleted_at_once(runs: Runs, tmp_path: Path) -> None:
    root = tmp_path / "mlruns"
    finished = finish(root)
    failed = [fail(root, name) for name in ("resnet18", "resnet34")]
    done = runs("delete", "--failed", "--yes")
    assert done.exit_code == 0, done.stderr
    assert finished.path.exists()
    assert not any(folder.path.exists() for folder in failed)
    assert "no failed runs" in runs("delete", "--failed").stdout


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (["vgg16-s0"], "vgg16-s1\n", "'vgg16-s1' is not vgg16-s0; nothing was deleted"),
        (["vgg16-s0"], "", "--yes skips the confirmation"),
        (["vgg16-s9", "--yes"], None, "has no run 'vgg16-s9' (did you mean vgg16-s0?)"),
        (["resnet18-s0", "--yes"], None, "matches 2 runs"),
        ([], None, "give the runs to delete, or --failed"),
        (["vgg16-s0", "--failed"], None, "give the runs to delete, or --failed"),
        (["vgg16-s0", "--yes", "--set", "tracking.uri=http://127.0.0.1:9"], None, "start the serv"),
    ],
)
def test_what_is_not_meant_is_not_deleted(
    runs: Runs, tmp_path: Path, arguments: list[str], typed: str | None, words: str
) -> None:
    """A name typed wrong or not at all, of no run, of several; and MLflow is away."""
    root = tmp_path / "mlruns"
    folders = [finish(root), finish(root, "resnet18")]
    folders.append(finish(root, "resnet18", train=TrainSettings(epochs=3)))
    done = runs("delete", *arguments, typed=typed)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert all(folder.record() for folder in folders)


def test_a_running_run_is_refused(runs: Runs, tmp_path: Path) -> None:
    """And nothing that was named beside it is deleted."""
    root = tmp_path / "mlruns"
    other = finish(root, "resnet18")
    running = finish(root)
    with locked([running]):
        done = runs("delete", "resnet18-s0", "vgg16-s0", "--yes")
    assert done.exit_code == 2
    assert "is running in another process" in done.stderr
    assert other.record()


def test_a_registered_run_is_refused(runs: Runs, tmp_path: Path) -> None:
    """Its version in the registry would be left without files."""
    root = tmp_path / "mlruns"
    folder = fail(root, "vgg16")
    store = MlflowStore(f"sqlite:///{root}/mlflow.db", "s", root)
    store.log_result(folder)
    (run,) = open_runs(store)
    store.client.create_registered_model("shop")
    store.client.create_model_version("shop", run.info.artifact_uri, run.info.run_id)
    done = runs("delete", "vgg16-s0", "--yes")
    assert done.exit_code == 2
    assert "is version 1 of the registered model 'shop'" in done.stderr
    assert len(open_runs(store)) == 1
    assert folder.failure()
