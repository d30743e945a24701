"""Open a SQLite store for MLflow safely for concurrent and killed processes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from benchmark.runs.user_cache import cached_bytes

PREFIX = "sqlite:///"
LOGS = ("-journal", "-wal", "-shm")
"""Suffixes of the files that SQLite keeps beside a database and identifies by name only."""
TIMEOUT_S = 120.0
"""Seconds to wait for another process that creates the store."""


@contextlib.contextmanager
def opening(uri: str) -> Iterator[None]:
    """Lock the store for this process; create a missing one atomically.

    MLflow creates its tables one by one: two concurrent processes, or a killed one, would leave a
    store that cannot be opened. Does nothing for stores other than SQLite files.
    """
    if not uri.startswith(PREFIX):
        yield
        return
    path = Path(uri.removeprefix(PREFIX))
    with filelock.FileLock(f"{path}.lock", timeout=TIMEOUT_S):
        if not path.exists():
            _make(path)
        # Lets readers and a writer work concurrently; the setting persists in the file.
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
        yield


def _empty_store() -> bytes:
    """Return a database with the tables of the installed MLflow."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder, _unsynced():
        file = Path(folder, "mlflow.db")
        MlflowClient(tracking_uri=f"{PREFIX}{file}").search_experiments(max_results=1)
        return file.read_bytes()


@contextlib.contextmanager
def _unsynced() -> Iterator[None]:
    """Disable SQLite's disk synchronization within the context.

    MLflow creates its tables in hundreds of steps. Synchronizing each takes minutes on a slow
    disk, and a file that is not complete yet needs no durability.
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
    unfinished = path.with_name(f".{path.name}.unfinished")
    version = importlib.metadata.version("mlflow")
    unfinished.write_bytes(cached_bytes(f"empty-store-mlflow-{version}.db", _empty_store))
    default = str(path.parent / "0")  # MLflow's own experiment, which bench does not use
    with contextlib.closing(sqlite3.connect(unfinished)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (default,))
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    # Stale files of a deleted store would be read into the new one.
    for log in LOGS:
        path.with_name(path.name + log).unlink(missing_ok=True)
    os.replace(unfinished, path)
