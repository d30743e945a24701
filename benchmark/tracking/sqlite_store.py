"""Open a SQLite store for MLflow so that several processes, killed at any moment, can share it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

PREFIX = "sqlite:///"
LOGS = ("-journal", "-wal", "-shm")
"""Ends of the names of what SQLite keeps beside a file and takes for its own by name alone."""
TIMEOUT_S = 120.0
"""For another process that makes the store."""


@contextlib.contextmanager
def opening(uri: str) -> Iterator[None]:
    """Within, the store is this process's alone; a new one is made whole before it is there.

    MLflow makes its tables one by one: two processes that do so at once, or one that is killed on
    the way, leave a store that nobody can open. Other stores than SQLite files need none of this.
    """
    if not uri.startswith(PREFIX):
        yield
        return
    path = Path(uri.removeprefix(PREFIX))
    with filelock.FileLock(f"{path}.lock", timeout=TIMEOUT_S):
        if not path.exists():
            _make(path)
        # Readers and a writer then do not wait for each other; the file remembers it.
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
        yield


@contextlib.contextmanager
def _unsynced() -> Iterator[None]:
    """Within, SQLite does not wait for the disk.

    MLflow makes its tables in hundreds of steps. Synced one by one they take minutes on a slow
    disk, for a file that counts for nothing before it is whole.
    """

    def forgo(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "connect", forgo)
    try:
        yield
    finally:
        event.remove(Engine, "connect", forgo)


def _make(path: Path) -> None:
    from mlflow import MlflowClient

    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with _unsynced():
        MlflowClient(tracking_uri=f"{PREFIX}{unfinished}").search_experiments(max_results=1)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    # A store that was deleted while it was open, or after a kill, left them: they would be
    # read into the new one.
    for log in LOGS:
        path.with_name(path.name + log).unlink(missing_ok=True)
    os.replace(unfinished, path)
