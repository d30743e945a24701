"""Which files of an ended run become artifacts, and how they get to where the store keeps them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmark.runs import folder as files
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import RunRecord
from benchmark.tracking import model
from benchmark.tracking.connection import timeout_for

AT_ONCE = 8
"""Files on their way: a run's are some fifteen, small, and each waits for a server's answer."""


def log_results(
    client: Any, mlflow_id: str, folder: RunFolder, record: RunRecord
) -> dict[str, str]:
    """Log a finished run's files and its model; return the tags that say that there is a model."""
    with tempfile.TemporaryDirectory() as made:
        tags = model.write_model(record, mlflow_id, Path(made))
        wanted = [*_of_the_model(Path(made), folder), *_beside_it(folder)]
        first, *others = wanted
        with timeout_for(sum(path.stat().st_size for path, _ in wanted)):
            # Alone, since MLflow's client asks then where the run's artifacts are, and remembers.
            client.log_artifact(mlflow_id, *first)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                # All of the answers are looked at: a file that did not get there raises.
                list(pool.map(lambda each: client.log_artifact(mlflow_id, *each), others))
    return tags


def _of_the_model(made: Path, folder: RunFolder) -> Iterator[tuple[Path, str]]:
    """Files of the MLflow model, each with its folder among the artifacts."""
    for path in sorted(made.rglob("*")):
        if path.is_file():
            yield path, (Path(model.ARTIFACT) / path.parent.relative_to(made)).as_posix()
    yield folder.path / files.MODEL, f"{model.ARTIFACT}/{model.DATA}"


def _beside_it(folder: RunFolder) -> Iterator[tuple[Path, None]]:
    for name in (*folder.results(), files.RECORD):
        if name != files.MODEL:
            yield folder.path / name, None


def log_failure(client: Any, mlflow_id: str, folder: RunFolder) -> None:
    """Log what a failed run printed."""
    if (folder.path / files.LOG).is_file():
        client.log_artifact(mlflow_id, str(folder.path / files.LOG))
