"""A copied or moved tracking folder keeps its artifacts beside it, and touches no other."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.study import load_study
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.relocate import local_path
from benchmark.workflows.doctor import _tracking
from tests.benchmark.conftest import StudyRun, run_bench
from tests.benchmark.test_tracking import client_of, runs_of


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def copy(tiny_study: StudyRun, tmp_path: Path) -> Path:
    """A copy of the tiny study's folder."""
    return Path(shutil.copytree(tiny_study.folder, tmp_path / "a copy"))


def artifacts_of(folder: Path) -> dict[str, Path]:
    """By name and id of an MLflow run, the folder of its artifacts; MLflow's client lists some."""
    client = client_of(folder)
    runs: list[Any] = runs_of(folder)
    assert all(client.list_artifacts(run.info.run_id) for run in runs)
    return {
        f"{run.info.run_name} {run.info.run_id}": local_path(run.info.artifact_uri) or Path()
        for run in runs
    }


def test_a_run_of_a_copied_study_writes_beside_the_copy(tiny_study: StudyRun, copy: Path) -> None:
    """Nothing changes below the original; the copy's earlier artifacts are its own, too."""
    before = tree(tiny_study.folder)
    done = run_bench(copy, "run", "test_resnet", "--seed", "1", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    assert f"copied or moved from {tiny_study.folder / 'mlruns'}" in done.err
    assert tree(tiny_study.folder) == before
    places = artifacts_of(copy)
    assert len(places) == 3
    assert {place.parents[1] for place in places.values()} == {copy / "mlruns/artifacts/tiny"}


def test_a_moved_study_goes_on_as_before(copy: Path, tmp_path: Path) -> None:
    """Said once; the runs, the report and the registry's model have their artifacts."""
    first = run_bench(copy, "register", "-c", "tiny.yaml", "--name", "before")
    assert "copied or moved from" in first.err
    moved = copy.rename(tmp_path / "moved")
    said = [
        "copied or moved from" in run_bench(moved, *command, "-c", "tiny.yaml").err
        for command in (["run", "--all"], ["report", "--log"], ["sync"])
    ]
    assert said == [True, False, False]
    assert not copy.exists()
    places = artifacts_of(moved)
    assert {place.parents[1] for place in places.values()} == {moved / "mlruns/artifacts/tiny"}
    (version,) = client_of(moved).search_model_versions("name = 'before'")
    model = local_path(version.source)
    assert model is not None
    assert (model / "MLmodel").is_file()


def test_doctor_reports_a_copy_once(copy: Path) -> None:
    study = load_study(copy / "tiny.yaml", [f"tracking.folder={copy / 'mlruns'}"])
    first, second = _tracking(study), _tracking(study)
    assert (first.state, second.state) == ("warning", "ok")
    assert "copied or moved from" in first.result


def test_a_finished_run_whose_artifacts_lie_in_the_original_alone_keeps_them(
    tiny_study: StudyRun, copy: Path
) -> None:
    """The store was copied without its artifacts: they stay reachable, new ones lie beside it."""
    root = copy / "mlruns"
    shutil.rmtree(root / "artifacts")
    said: list[str] = []
    store = MlflowStore(f"sqlite:///{root}/mlflow.db", "tiny", root, said.append)
    assert "except for 2 runs whose artifacts exist only in" in said[0]
    assert all(place.is_relative_to(tiny_study.folder) for place in artifacts_of(copy).values())
    new = local_path(store.client.create_run(store.experiment_id).info.artifact_uri)
    assert new is not None
    assert new.is_relative_to(root / "artifacts" / "tiny")


def test_another_name_of_the_same_folder_is_no_move(tmp_path: Path) -> None:
    root, link = tmp_path / "mlruns", tmp_path / "link"
    root.mkdir()
    link.symlink_to(root)
    MlflowStore(f"sqlite:///{root}/mlflow.db", "tiny", root)
    said: list[str] = []
    MlflowStore(f"sqlite:///{link}/mlflow.db", "tiny", link, said.append)
    assert said == []


def test_locations_that_bench_did_not_choose_are_left_alone(tmp_path: Path) -> None:
    """An experiment of the user's own, and a store that several tracking folders share."""
    root, other = tmp_path / "mlruns", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
    uri = f"sqlite:///{root}/mlflow.db"
    store = MlflowStore(uri, "tiny", root)
    places = {"mine": "s3://bucket/artifacts/mine", "near": (tmp_path / "near").as_uri()}
    for name, place in places.items():
        store.client.create_experiment(name, place)
    said: list[str] = []
    MlflowStore(uri, "tiny", root, said.append)
    MlflowStore(uri, "tiny", other, said.append)
    assert said == []
    with sqlite3.connect(root / "mlflow.db") as database:
        kept = dict(database.execute("SELECT name, artifact_location FROM experiments"))
    assert {name: kept[name] for name in places} == places
    assert kept["tiny"] == (root / "artifacts" / "tiny").as_uri()
