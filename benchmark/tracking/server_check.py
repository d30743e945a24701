"""Checks of a tracking server for `bench doctor`: version, clock, latency, artifacts."""

from __future__ import annotations

import email.utils
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from benchmark.errors import TrackingError
from benchmark.tracking.connection import first_line
from benchmark.tracking.mlflow_store import MlflowStore

CLOCK_OFF_S = 60.0
"""Maximum clock difference in seconds. Beyond it, drivers may consider each other dead."""
SLOW_S = 0.25
"""Maximum latency of a call in seconds; a run makes about 30 calls."""
CALLS = 5
FOLDER = "bench-doctor"
"""Artifact folder for the files of the check."""


def check_server(store: MlflowStore) -> tuple[str, list[str]]:
    """Return a summary of the server and a list of problems; TrackingError if it is unusable."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        response = http_request(get_default_host_creds(store.uri), "/version", "GET")
        response.raise_for_status()
        latency_s = _latency(store)
    except Exception as error:  # network, http and MLflow errors alike
        raise TrackingError(f"{store.shown_uri} cannot be queried: {first_line(error)}") from None
    _artifact_round_trip(store)
    off_s = _clock_off(response.headers.get("Date"))
    concerns = _versions(response.text.strip())
    if abs(off_s) > CLOCK_OFF_S:
        concerns.append(
            f"its clock and this machine's differ by {abs(off_s):.0f} s; synchronize them"
        )
    if latency_s > SLOW_S:
        concerns.append(f"{1000 * latency_s:.0f} ms per request; see docs/scale.md")
    summary = (
        f"{store.shown_uri} accepts runs and artifacts: MLflow {response.text.strip()[:20]}, "
        f"{1000 * latency_s:.0f} ms per request, clocks differ by {abs(off_s):.0f} s"
    )
    return summary, concerns


def _latency(store: MlflowStore) -> float:
    """Return the median duration of a database query in seconds."""
    took = []
    for _ in range(CALLS):
        started = time.monotonic()
        store.client.get_experiment(store.experiment_id)
        took.append(time.monotonic() - started)
    return statistics.median(took)


def _clock_off(date: str | None) -> float:
    """Return how far the server's clock is ahead, in seconds; its header has whole seconds."""
    if date is None:
        return 0.0
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
    except ValueError:
        return 0.0


def _versions(server: str) -> list[str]:
    """Return problems of version compatibility: a newer client needs what old servers lack."""
    import mlflow

    try:
        ours, theirs = Version(mlflow.__version__), Version(server)
    except InvalidVersion:
        return [f"{server[:40]!r} is not a version of MLflow; is tracking.uri an MLflow server?"]
    if theirs.major == ours.major and theirs.release[:2] >= ours.release[:2]:
        return []
    return [f"its MLflow is {theirs}; install {ours} or a later {ours.major}.x on the server"]


def _artifact_round_trip(store: MlflowStore) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    step = "cannot be reached"
    try:
        local = store.client.get_experiment(store.experiment_id).artifact_location
        keeper: Any = get_artifact_repository(f"{local}/{FOLDER}", tracking_uri=store.uri)
        with tempfile.TemporaryDirectory() as folder:
            sent = Path(folder) / f"{uuid.uuid4().hex}.txt"
            sent.write_text(sent.name)
            step = "cannot be written"
            keeper.log_artifact(str(sent))
            step = "cannot be read"
            back = Path(folder) / "back"
            back.mkdir()
            got = Path(keeper.download_artifacts(sent.name, str(back))).read_text()
            if got != sent.name:
                raise TrackingError(
                    f"{store.shown_uri}: an artifact was returned with different content"
                )
            step = "cannot be deleted"
            keeper.delete_artifacts(sent.name)
    except TrackingError:
        raise
    except Exception as error:  # network, S3 and MLflow errors alike
        raise TrackingError(
            f"{store.shown_uri}: an artifact {step}: {first_line(error)}; check the server's "
            "--artifacts-destination and its credentials"
        ) from None
