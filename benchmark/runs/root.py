"""The tracking folder: made, checked for writing, and where its parts lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import StoreError

MIN_FREE_BYTES = 2**16
"""Below it not even a store can be opened."""


def open_store(study: StudySettings) -> Path:
    """Make the tracking folder unless it is there; return its absolute path.

    Raises StoreError where nothing can be written to it.
    """
    root = study.tracking.folder.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(bytes(MIN_FREE_BYTES))
    except OSError as error:
        raise StoreError(
            f"tracking.folder: {root} cannot be written to ({error.strerror}); "
            "mend its permissions or name another with --set tracking.folder=…"
        ) from None
    return root


def cache_folder(root: Path) -> Path:
    """Where decoded images and drawings are kept; it may be deleted at any time."""
    return root / "cache"


def clean_cache(root: Path) -> dict[str, int]:
    """Delete all that is cached below the tracking folder; return bytes freed by kind.

    What a killed process left unfinished goes, too. A run that is going on keeps what it has open,
    except on systems that do not delete open files. Raises StoreError where something stays.
    """
    freed: dict[str, int] = {}
    folder = cache_folder(root)
    for kind in sorted(folder.iterdir()) if folder.is_dir() else []:
        files = [kind] if kind.is_file() else [item for item in kind.rglob("*") if item.is_file()]
        freed[kind.name] = sum(item.stat().st_size for item in files)
        try:
            kind.unlink() if kind.is_file() else shutil.rmtree(kind)
        except OSError as error:
            raise StoreError(f"{kind}: cannot be deleted: {error.strerror}") from None
    return freed


def tracking_uri(study: StudySettings) -> str:
    """The MLflow store: the study's own, else MLFLOW_TRACKING_URI, else SQLite in the folder."""
    root = study.tracking.folder.absolute()
    # A relative sqlite path would be another database from another folder.
    return (
        study.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlflow.db"
    )
