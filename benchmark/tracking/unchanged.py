"""Remember what a local MLflow store has, as long as its database file does not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from benchmark.runs.root import cache_folder
from benchmark.runs.spec import RunSpec
from clothclf.data.atomic import write_text

SQLITE = "sqlite:///"


def has_logged(uri: str, root: Path, plan: Sequence[RunSpec], report: bool) -> bool:
    """Return whether the store had all runs of `plan`, and has not changed since.

    With `report`, it had their report as well. False for a server, and for a store that a process
    has written to since `remember_logged`: ask the store itself. Does not import MLflow, which
    takes seconds.
    """
    database = _state(uri)
    try:
        return (
            database is not None
            and json.loads(_file(uri, root, plan, report).read_bytes()) == database
        )
    except (OSError, ValueError):
        return False


def remember_logged(uri: str, root: Path, plan: Sequence[RunSpec], report: bool) -> None:
    """Note that the store has all runs of `plan` now, and with `report` their report."""
    database = _state(uri)
    if database is None:
        return
    file = _file(uri, root, plan, report)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(database) + "\n")


def _state(uri: str) -> list[int] | None:
    """Return a SQLite database's inode, size and modification time in ns; None for a server."""
    if not uri.startswith(SQLITE):
        return None
    try:
        status = Path(uri.removeprefix(SQLITE)).stat()
    except (OSError, ValueError):
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _file(uri: str, root: Path, plan: Sequence[RunSpec], report: bool) -> Path:
    # The root, because a store that was moved has to be mended (see `relocate`).
    parts = json.dumps([uri, str(root), report, sorted(spec.run_id for spec in plan)])
    return cache_folder(root) / "logged" / f"{hashlib.sha256(parts.encode()).hexdigest()[:16]}.json"
