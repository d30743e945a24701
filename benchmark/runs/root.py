"""The tracking folder: made, checked for writing, and where its parts lie."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import StoreError
from clothclf.data.in_use import delete_unused

MIN_FREE_BYTES = 2**16
"""Below it not even a store can be opened."""


def open_store(study: StudySettings) -> Path:
    """Make the tracking folder unless it is there; return its absolute path.

    Raises StoreError where nothing can be written to it.
    """
    root = study.tracking.folder.absolute()
    try:
        str(root).encode("utf-8")
    except UnicodeEncodeError:
        raise StoreError(
            f"tracking.folder: {str(root)!r}: its name is not UTF-8, so no record can name it; "
            "name another with --set tracking.folder=…"
        ) from None
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


WHOLE_FOLDERS = ("demo", "features", "hub", "pixels")
"""Kinds of the cache whose entries are folders, each used and deleted as a whole."""


@dataclass(frozen=True)
class Cleaned:
    """Bytes of a cache by kind."""

    deleted: dict[str, int] = field(default_factory=dict)
    in_use: dict[str, int] = field(default_factory=dict)
    """Left, because a process that runs uses it."""


def clean_cache(root: Path) -> Cleaned:
    """Delete what is cached below the tracking folder, but for what running processes use.

    What a killed process left unfinished goes, too. Raises StoreError where something stays that
    nobody uses.
    """
    cleaned = Cleaned()
    for entry, kind in _cache_entries(cache_folder(root)):
        size = sum(_size(item) for item in _files(entry)) + _size(entry)
        try:
            counted = cleaned.deleted if delete_unused(entry) else cleaned.in_use
        except OSError as error:
            raise StoreError(f"{entry}: cannot be deleted: {error.strerror}") from None
        counted[kind] = counted.get(kind, 0) + size
    return cleaned


def _cache_entries(cache: Path) -> Iterator[tuple[Path, str]]:
    """What can be deleted at once, and its kind.

    Folders of small files stay, empty: a process may be about to write to one.
    """
    for kind in sorted(cache.iterdir()) if cache.is_dir() else []:
        if kind.name in WHOLE_FOLDERS and kind.is_dir():
            yield from ((entry, kind.name) for entry in sorted(kind.iterdir()))
        elif kind.is_dir():
            yield from ((item, kind.name) for item in sorted(_files(kind)))
        else:
            yield kind, kind.name


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, none for a file; what vanishes meanwhile is passed over."""
    for top, _, names in os.walk(folder):
        yield from (Path(top, name) for name in names)


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:  # another process has deleted or renamed it meanwhile
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def tracking_uri(study: StudySettings) -> str:
    """The MLflow store: the study's own, else MLFLOW_TRACKING_URI, else SQLite in the folder."""
    root = study.tracking.folder.absolute()
    # A relative sqlite path would be another database from another folder.
    return (
        study.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlflow.db"
    )
