"""Start MLflow's own server on a study's store."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from benchmark.credentials import take_credentials
from benchmark.errors import TrackingError
from benchmark.store import open_store, tracking_uri
from benchmark.study import StudySettings
from benchmark.tracking.comparison_view import address
from benchmark.tracking.mlflow_store import MlflowStore

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Else seven processes wait beside the server for jobs of language models.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def serve(study: StudySettings, host: str, port: int) -> None:
    """Print where the study's comparison is and serve it until interrupted.

    A remote store has pages of its own: their address is all that it needs.
    """
    uri = take_credentials(tracking_uri(study))
    # Opening it here sets up the database before the server's processes race to do so.
    store = MlflowStore(uri, study.study, open_store(study))
    store.prepare_view()
    if uri.startswith("http"):
        click.echo(address(store.shown_uri, store.experiment_id))
        return
    click.echo(f"{address(f'http://{host}:{port}', store.experiment_id)}  (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "ui"]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    # A database's URI may hold a password, and everyone on the machine can read command lines.
    environment = {**QUIET, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code not in (0, -2, 130):
        raise TrackingError(
            f"MLflow's server ended with code {code}; is port {port} taken? try --port {port + 1}"
        )
