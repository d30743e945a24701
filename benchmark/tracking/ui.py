"""Start MLflow's own server on a study's store."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from benchmark.errors import TrackingError
from benchmark.store import open_store, tracking_uri
from benchmark.study import StudySettings
from benchmark.tracking.mlflow_store import MlflowStore

# Without it MLflow 3 opens its pages for language models, where no run is to be seen.
RUNS_AS_CHARTS = "workflowType=machine_learning&compareRunsMode=CHART"


def serve(study: StudySettings, host: str, port: int) -> None:
    """Serve until interrupted; a remote store has pages of its own, whose address is printed."""
    uri = tracking_uri(study)
    if uri.startswith("http"):
        click.echo(f"the store is a server with pages of its own: {uri}")
        return
    root = open_store(study)
    # Opening it here sets up the database before the server's processes race to do so.
    experiment_id = MlflowStore(uri, study.study, root).experiment_id
    page = f"experiments/{experiment_id}/runs?{RUNS_AS_CHARTS}"
    click.echo(f"http://{host}:{port}/#/{page}  (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code not in (0, -2, 130):
        raise TrackingError(
            f"MLflow's server ended with code {code}; is port {port} taken? try --port {port + 1}"
        )
