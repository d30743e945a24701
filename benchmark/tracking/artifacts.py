"""Upload the files of a finished or failed run as MLflow artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmark.runs import run_folder as files
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.tracking import mlflow_model
from benchmark.tracking.connection import timeout_for

AT_ONCE = 8
"""Number of concurrent uploads. A run has about fifteen small files, each a server round trip."""


def log_results(
    client: Any, mlflow_id: str, folder: RunFolder, record: RunRecord
) -> dict[str, str]:
    """Log the files and the model of a finished run; return the tags that announce the model."""
    with tempfile.TemporaryDirectory() as model_tags:
        tags: dict[str, str] = {}
        uploads: list[tuple[Path, str | None]] = [*_beside_it(folder)]
        if files.MODEL in record.files:  # a run from a pack has none
            tags = mlflow_model.write_model(record, mlflow_id, Path(model_tags))
            uploads = [*_of_the_model(Path(model_tags), folder), *uploads]
        first, *others = uploads
        with timeout_for(sum(path.stat().st_size for path, _ in uploads)):
            # First alone: MLflow's client looks up the artifact location here and caches it.
            client.log_artifact(mlflow_id, *first)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                # Consume all results, so that a failed upload raises.
                list(pool.map(lambda each: client.log_artifact(mlflow_id, *each), others))
    return tags


def _of_the_model(target: Path, folder: RunFolder) -> Iterator[tuple[Path, str]]:
    """Iterate over the files of the MLflow model, each with its artifact folder."""
    for path in sorted(target.rglob("*")):
        if path.is_file():
            yield path, (Path(mlflow_model.ARTIFACT) / path.parent.relative_to(target)).as_posix()
    yield folder.path / files.MODEL, f"{mlflow_model.ARTIFACT}/{mlflow_model.DATA}"


def _beside_it(folder: RunFolder) -> Iterator[tuple[Path, None]]:
    for name in (*folder.results(), files.RECORD):
        if name != files.MODEL:
            yield folder.path / name, None


def log_failure(client: Any, mlflow_id: str, folder: RunFolder) -> None:
    """Log the output of a failed run."""
    if (folder.path / files.LOG).is_file():
        client.log_artifact(mlflow_id, str(folder.path / files.LOG))
