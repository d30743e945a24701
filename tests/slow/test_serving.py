"""The winner of a real study, registered, behind `mlflow models serve`, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import TINY, free_port, run_bench
from tests.benchmark.test_model_serving import assert_same_answers, encoded, test_images
from tests.benchmark.test_tracking import runs_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tiny.yaml").write_text(TINY)
    done = run_bench(folder, "run", "test_resnet", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def url(study: Path) -> Iterator[str]:
    """Of a server that has loaded the run's model from the registry."""
    done = run_bench(study, "register", "-c", "tiny.yaml", "--alias", "champion")
    assert done.code == 0, done.err
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", "models:/tiny@champion", "--port", str(port), "--workers", "1"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{study}/mlruns/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # As in an activated environment: MLflow starts uvicorn by its name alone.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with (study / "server.txt").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=study,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
                    break
            except OSError:
                assert process.poll() is None, (study / "server.txt").read_text()[-3000:]
                assert time.monotonic() < end, (study / "server.txt").read_text()[-3000:]
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def send(url: str, backbone: object) -> tuple[int, object]:
    """Status and parsed answer of a POST."""
    request = urllib.request.Request(
        url, json.dumps(backbone).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_served_model_predicts_like_the_run(study: Path, url: str) -> None:
    (folder,) = study_folders(study / "mlruns", "tiny")
    images, predicted = test_images(study, folder)
    status, response = send(url, {"dataframe_records": [{"image": text} for text in images]})
    assert status == 200
    assert isinstance(response, dict)
    assert_same_answers(pd.DataFrame(response["predictions"]), predicted)


def test_the_logged_example_is_a_request_that_works(study: Path, url: str) -> None:
    (run,) = runs_of(study)
    place = Path(run.info.artifact_uri.removeprefix("file://")) / "model"
    status, response = send(url, json.loads((place / "serving_input_example.json").read_text()))
    assert status == 200
    assert isinstance(response, dict)
    assert len(response["predictions"]) == 1


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        ({"dataframe_records": [{"image": encoded(b"no image")}]}, "image 0: cannot be"),
        ({"dataframe_records": [{"image": 7}]}, "image"),
        ({"dataframe_records": [{"picture": "x"}]}, "image"),
    ],
    ids=["broken", "number", "column"],
)
def test_a_request_that_cannot_be_answered_is_reported_why(
    url: str, backbone: object, words: str
) -> None:
    """With status 400, and the server goes on."""
    status, response = send(url, backbone)
    assert status == 400
    assert isinstance(response, dict)
    assert words in response["message"]
