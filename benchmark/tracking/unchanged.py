"""Remember what a local MLflow store has, as long as its database file does not change."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from benchmark.runs.root import cache_folder
from benchmark.runs.spec import RunSpec
from benchmark.tracking.sqlite_store import PREFIX
from clothclf.data.atomic import json_sha256, write_text


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


def _state(uri: str) -> list[list[int]] | None:
    """Return inode, size and modification time in ns of a SQLite database and its log.

    None for a server. SQLite writes to the log first (`-wal`), and to the database when it closes.
    """
    if not uri.startswith(PREFIX):
        return None
    path = Path(uri.removeprefix(PREFIX))
    try:
        found = [path.stat()]
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        found.append(path.with_name(f"{path.name}-wal").stat())
    return [[it.st_ino, it.st_size, it.st_mtime_ns] for it in found if it.st_size]


def _file(uri: str, root: Path, plan: Sequence[RunSpec], report: bool) -> Path:
    # The root, because a moved store must be relocated (see `relocate`).
    key = json_sha256([uri, str(root), report, sorted(spec.run_id for spec in plan)])[:16]
    return cache_folder(root) / "logged" / f"{key}.json"
