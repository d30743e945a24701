"""Delete the MLflow runs of a run, and their artifacts beside the store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import TrackingError
from benchmark.tracking.relocate import ARTIFACTS, local_path


def require_unregistered(client: Any, runs: Sequence[Any]) -> None:
    """Raise TrackingError if a registered model uses the artifacts of one of the runs."""
    for run in runs:
        for version in client.search_model_versions(f"run_id = '{run.info.run_id}'"):
            raise TrackingError(
                f"{run.info.run_name} is version {version.version} of the registered model "
                f"{version.name!r}, which would lose its files; delete that version first"
            )


def delete_logged(client: Any, runs: Sequence[Any], root: Path) -> None:
    """Delete MLflow runs, and their artifacts below the tracking folder `root`.

    MLflow keeps the entry of a deleted run, and a server keeps its artifacts, until `mlflow gc`.
    """
    for run in runs:
        client.delete_run(run.info.run_id)
        path = local_path(run.info.artifact_uri)
        if path is not None and path.is_relative_to(root / ARTIFACTS):
            shutil.rmtree(path.parent if path.name == ARTIFACTS else path, ignore_errors=True)
