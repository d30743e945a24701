"""Update artifact locations in a SQLite store whose tracking folder was copied or moved.

MLflow stores absolute artifact locations. Without an update, runs of a copied tracking folder
would write their artifacts to the original, and runs of a moved one to a folder that is gone.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmark.tracking.sqlite_store import PREFIX

ARTIFACTS = "artifacts"
"""Folder below the tracking folder, with a subfolder for each experiment."""
BUSY_TIMEOUT_S = 60.0
"""Seconds to wait for another process that writes to the store."""


@dataclass(frozen=True)
class _Move:
    """New artifact location of an experiment; locations are URIs without a trailing slash."""

    experiment_id: int
    former: str
    new: str


def artifact_location(root: Path, study: str) -> str:
    """Return the URI of a study's artifact folder below the tracking folder `root`."""
    return (root / ARTIFACTS / study).as_uri()


def relocate(uri: str, root: Path) -> str:
    """Rewrite artifact locations below another tracking folder than `root`, in one transaction.

    Applies to a SQLite store in `root`, and to experiments whose artifact location was chosen by
    bench. A finished run whose artifacts only exist at the former location keeps it, so that they
    stay reachable. Returns a message for the user, empty if nothing changed. Raises sqlite3.Error.
    """
    path = Path(uri.removeprefix(PREFIX))
    if not uri.startswith(PREFIX) or not _is_same(path.parent, root):
        return ""
    with contextlib.closing(sqlite3.connect(path, BUSY_TIMEOUT_S)) as database, database:
        moves = _moves(database, root)
        if not moves:
            return ""
        unmoved = sum(_move(database, move) for move in moves)
    return _sentence(moves, root, unmoved)


def _moves(database: sqlite3.Connection, root: Path) -> list[_Move]:
    rows = database.execute("SELECT experiment_id, name, artifact_location FROM experiments")
    moves = []
    for experiment_id, name, location in rows.fetchall():
        path = local_path(location or "")
        if path is None or path.parts[-2:] != (ARTIFACTS, name):
            continue
        if not _is_same(path.parents[1], root):
            moves.append(_Move(experiment_id, location.rstrip("/"), artifact_location(root, name)))
    return moves


def _move(database: sqlite3.Connection, move: _Move) -> int:
    """Rewrite one experiment; return the number of runs that keep their former location."""
    database.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
        (move.new, move.experiment_id),
    )
    runs = database.execute(
        "SELECT run_uuid, artifact_uri, status FROM runs WHERE experiment_id = ?",
        (move.experiment_id,),
    )
    unmoved = 0
    for run_id, former, status in runs.fetchall():
        if not (former or "").startswith(f"{move.former}/"):
            continue
        new = move.new + former.removeprefix(move.former)
        if status == "FINISHED" and _exists(former) and not _exists(new):
            unmoved += 1
            continue
        database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (new, run_id))
        # Versions in the model registry refer to the run's artifacts by absolute location.
        database.execute(
            "UPDATE model_versions SET source = replace(source, ?, ?), "
            "storage_location = replace(storage_location, ?, ?) WHERE run_id = ?",
            (former, new, former, new, run_id),
        )
    return unmoved


def _sentence(moves: Sequence[_Move], root: Path, unmoved: int) -> str:
    locations = {location for move in moves if (location := local_path(move.former))}
    former = ", ".join(sorted({str(location.parents[1]) for location in locations}))
    message = (
        f"tracking.folder: {root} was copied or moved from {former}; MLflow now finds and writes "
        f"artifacts below {root / ARTIFACTS}"
    )
    return (
        f"{message}, except for {unmoved} runs whose artifacts exist only in {former}"
        if unmoved
        else message
    )


def local_path(location: str) -> Path | None:
    """Return the local path of an artifact location, or None if it is not a local one."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


def _exists(location: str) -> bool:
    path = local_path(location)
    return path is not None and path.is_dir()


def _is_same(path: Path, other: Path) -> bool:
    """Return whether two paths name the same folder, also through links and mounts."""
    try:
        return path == other or path.samefile(other)
    except OSError:  # one of them does not exist
        return False
