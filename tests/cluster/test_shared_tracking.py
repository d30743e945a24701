"""MLflow's server on PostgreSQL with artifacts in S3: what lands there, and what it survives."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import pytest

from benchmark.errors import TrackingError
from benchmark.runs.run_folder import study_folders
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.server_check import check_server
from tests.benchmark.conftest import COMMAND, Finished, environment, run_bench
from tests.cluster.engines import ADMIN, PASSWORD, SharedStore, Tls
from tests.faults import study

TINY = """\
study: shared
data: {source: demo, image_size: 32, demo: {images_per_class: 5}}
architectures: [test_resnet]
model: {weights: none, mode: frozen}
train: {epochs: 2}
seeds: [0, 1]
device: cpu
measure: false
"""
WRONG = "not-the-password-of-anybody"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedStore]:
    store = SharedStore(tmp_path_factory.mktemp("engines"))
    yield store
    store.stop()


def environment_of(store: SharedStore, password: str = PASSWORD) -> dict[str, str]:
    return {**environment(), **store.environment(password)}


@pytest.fixture(scope="module")
def landed(shared: SharedStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A study of two runs whose driver gets the store from one variable."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "tiny.yaml").write_text(TINY)
    host = shared.uri.removeprefix("http://")
    uri = f"http://{ADMIN}:{quote(PASSWORD, safe='')}@{host}"
    variables = {**environment(), "MLFLOW_TRACKING_URI": uri}
    done = run_bench(folder, "run", "--all", "-c", "tiny.yaml", variables=variables, timeout_s=600)
    assert done.code == 0, done.err
    return folder, done


def client_of(store: SharedStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    from mlflow import MlflowClient

    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    return MlflowClient(tracking_uri=store.uri)


def runs_of(client: Any, name: str) -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    result = client.search_runs(
        [experiment.experiment_id], filter_string="tags.`bench.kind` = 'run'"
    )
    return list(result)


def test_a_study_lands_whole(
    shared: SharedStore, landed: tuple[Path, Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run once, with its figures in PostgreSQL and its files in the bucket, byte for byte."""
    client = client_of(shared, monkeypatch)
    runs = {run.data.tags["bench.run_id"]: run for run in runs_of(client, "shared")}
    folders = list(study_folders(landed[0] / "mlruns", "shared"))
    assert len(runs_of(client, "shared")) == len(runs) == len(folders) == 2
    objects = shared.objects.names()
    for folder in folders:
        record = folder.verified_record()
        assert record is not None
        run = runs[record.run_id]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/accuracy"] == record.test.accuracy
        place = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
        for name in ("record.json", "predictions.parquet", "model/data/model.safetensors"):
            assert f"{place}/{name}" in objects
        got = client.download_artifacts(run.info.run_id, "record.json", str(landed[0]))
        assert Path(got).read_bytes() == (folder.path / "record.json").read_bytes()


def test_it_is_there_already_for_sync(
    shared: SharedStore, landed: tuple[Path, Finished], tmp_path: Path
) -> None:
    """The password in a file, this time."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    variables = environment_of(shared) | {
        "MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "password")
    }
    del variables["MLFLOW_TRACKING_PASSWORD"]
    done = run_bench(landed[0], "sync", "-c", "tiny.yaml", variables=variables, timeout_s=600)
    assert (done.code, done.out.strip()) == (0, "0 runs logged, 2 already logged"), done.err


def test_a_wrong_password_is_refused_in_a_sentence(
    shared: SharedStore, landed: tuple[Path, Finished]
) -> None:
    """Before anything is trained, and without repeating it."""
    done = run_bench(
        landed[0],
        "run",
        "--all",
        "-c",
        "tiny.yaml",
        variables=environment_of(shared, WRONG),
        timeout_s=600,
    )
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench:")]
    assert f"{shared.uri} rejects user '{ADMIN}' with this password" in line
    assert "MLFLOW_TRACKING_PASSWORD" in line
    assert WRONG not in done.err + done.out


def test_the_password_is_nowhere(shared: SharedStore, landed: tuple[Path, Finished]) -> None:
    """Not in what was printed, the run folders, the database's files, the bucket, the server's log.

    It came in the server's URI, the likeliest of its places to be repeated.
    """
    folder, done = landed
    looked_at = {"output": (done.out + done.err).encode()}
    shared.database.query("CHECKPOINT")
    for place in (folder, shared.database.folder / "data" / "base"):
        looked_at |= {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    looked_at |= {name: shared.objects.read(name) for name in shared.objects.names()}
    looked_at["server's log"] = shared.tracking.log.read_bytes()
    assert len(looked_at) > 50
    assert any(b"bench.run_id" in content for content in looked_at.values())
    secrets = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    assert [name for name, content in looked_at.items() if any(s in content for s in secrets)] == []


def test_doctor_examines_the_server(
    shared: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version, clock and pace, and an artifact, which it takes away again."""
    client_of(shared, monkeypatch)
    result, concerns = check_server(MlflowStore(shared.uri, "examined", tmp_path))
    assert f"accepts runs and artifacts: MLflow {mlflow.__version__}" in result
    assert [
        environment_of for environment_of in concerns if "per request" not in environment_of
    ] == []  # a busy machine is slow
    assert not [name for name in shared.objects.names() if "doctor" in name]


@pytest.fixture(scope="module")
def tls(shared: SharedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    proxy = Tls(tmp_path_factory.mktemp("tls"), shared.tracking)
    proxy.start()
    yield proxy
    proxy.kill()


def test_a_driver_reaches_it_by_tls(
    shared: SharedStore, tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through deploy/'s proxy, with its authority: runs, and an artifact round trip."""
    client_of(shared, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tls.authority))
    result, _ = check_server(MlflowStore(tls.uri, "by tls", tmp_path))
    assert f"accepts runs and artifacts: MLflow {mlflow.__version__}" in result
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
    with pytest.raises(TrackingError, match="certificate is not trusted") as caught:
        MlflowStore(tls.uri, "by tls", tmp_path)
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in str(caught.value)


@pytest.mark.slow
def test_a_study_lands_by_tls(
    shared: SharedStore, tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is configured by its environment only."""
    (tmp_path / "tls.yaml").write_text(TINY.replace("study: shared", "study: tls"))
    variables = environment_of(shared) | {
        "MLFLOW_TRACKING_URI": tls.uri,
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(tls.authority),
    }
    done = run_bench(tmp_path, "run", "--all", "-c", "tls.yaml", variables=variables, timeout_s=600)
    assert done.code == 0, done.err
    runs = runs_of(client_of(shared, monkeypatch), "tls")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    place = runs[0].info.artifact_uri.removeprefix("mlflow-artifacts:/")
    assert f"{place}/model/data/model.safetensors" in shared.objects.names()


@pytest.mark.slow
def test_doctor_tells_that_artifacts_cannot_be_kept(
    shared: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers, and what is behind it does not."""
    client_of(shared, monkeypatch)
    store = MlflowStore(shared.uri, "examined", tmp_path)
    shared.objects.pause()
    try:
        with pytest.raises(TrackingError, match="an artifact cannot be written") as caught:
            check_server(store)
    finally:
        shared.objects.pause(False)
    assert "--artifacts-destination" in str(caught.value)


def wait_for(folder: Path, text: str) -> None:
    end = time.monotonic() + 300
    while text not in study.output(folder):
        assert time.monotonic() < end, study.output(folder)
        time.sleep(0.05)


@pytest.mark.slow
def test_a_store_that_loses_server_and_database_has_all_of_two_drivers_in_the_end(
    shared: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines' worth of drivers, each with run folders of its own, share a study.

    Both do all of its runs, which have the same run_ids; the store shows each once. Meanwhile the
    server and then the database are killed, and started again.
    """
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    drivers = [
        study.start(folder, "run", "--all", variables=environment_of(shared)) for folder in folders
    ]
    wait_for(folders[0], "epoch 1/")
    shared.tracking.kill()
    time.sleep(2)
    shared.tracking.start()
    shared.database.kill(signal.SIGQUIT)  # an immediate shutdown, without a checkpoint
    time.sleep(2)
    shared.database.start()
    for driver, folder in zip(drivers, folders, strict=True):
        assert driver.wait(600) == 0, study.output(folder)
        assert "Traceback" not in study.output(folder)
    for folder in folders:
        done = run_bench(
            folder, "sync", "-c", "faults.yaml", variables=environment_of(shared), timeout_s=600
        )
        assert done.code == 0, done.err
        done = run_bench(
            folder, "sync", "-c", "faults.yaml", variables=environment_of(shared), timeout_s=600
        )
        assert (done.code, done.out.strip()) == (0, "0 runs logged, 2 already logged"), done.err
    client_of(shared, monkeypatch)
    assert study.figures(folders[0]) == study.figures(folders[1])
    study.assert_whole_in_mlflow(folders[0], shared.uri)


@pytest.mark.slow
def test_a_password_that_is_changed_on_the_way_does_not_stop_a_study(
    shared: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported in a sentence; `bench sync` with the new one fills the store."""
    client_of(shared, monkeypatch)
    from mlflow.server import get_app_client

    users = get_app_client("basic-auth", tracking_uri=shared.uri)
    users.create_user("anna", "first-password-of-anna")
    variables = environment_of(shared) | {
        "MLFLOW_TRACKING_USERNAME": "anna",
        "MLFLOW_TRACKING_PASSWORD": "first-password-of-anna",
    }
    (tmp_path / "anna.yaml").write_text(TINY.replace("study: shared", "study: anna"))
    with (tmp_path / "output.txt").open("w") as output:
        driver = subprocess.Popen(
            [*COMMAND, "run", "--all", "-c", "anna.yaml"],
            cwd=tmp_path,
            stdout=output,
            stderr=output,
            env=variables,
        )
    with contextlib.ExitStack() as ended:
        ended.callback(driver.kill)
        wait_for(tmp_path, "plan: 2 runs")
        wait_for(tmp_path, "epoch 1/")
        users.update_user_password("anna", "second-password-of-anna")
        assert driver.wait(600) == 0
    assert "rejects user 'anna' with this password" in study.output(tmp_path)
    assert "Traceback" not in study.output(tmp_path)
    variables["MLFLOW_TRACKING_PASSWORD"] = "second-password-of-anna"  # noqa: S105 - nobody's
    done = run_bench(tmp_path, "sync", "-c", "anna.yaml", variables=variables, timeout_s=600)
    assert done.code == 0, done.err
    runs = runs_of(client_of(shared, monkeypatch), "anna")
    assert sorted(run.data.params["seed"] for run in runs) == ["0", "1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
