"""The tracking folder: create it, check that it is writable, locate and clean its parts."""

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
"""Minimum free space in bytes; with less, not even the store can be opened."""


def open_store(study: StudySettings) -> Path:
    """Create the tracking folder if it does not exist; return its absolute path.

    Raises StoreError if the folder is not writable.
    """
    root = study.tracking.folder.absolute()
    try:
        str(root).encode("utf-8")
    except UnicodeEncodeError:
        raise StoreError(
            f"tracking.folder: {str(root)!r}: the name is not valid UTF-8; choose another folder "
            "with --set tracking.folder=…"
        ) from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(bytes(MIN_FREE_BYTES))
    except OSError as error:
        raise StoreError(
            f"tracking.folder: {root} is not writable ({error.strerror}); change its permissions "
            "or choose another folder with --set tracking.folder=…"
        ) from None
    return root


def cache_folder(root: Path) -> Path:
    """Return the folder of caches such as decoded images; it can be deleted at any time."""
    return root / "cache"


WHOLE_FOLDERS = ("demo", "features", "hub", "pixels")
"""Kinds of cache whose entries are folders, each used and deleted as a whole."""


@dataclass(frozen=True)
class Cleaned:
    """Result of cleaning a cache: bytes by kind of cache."""

    deleted: dict[str, int] = field(default_factory=dict)
    in_use: dict[str, int] = field(default_factory=dict)
    """Bytes that were not deleted because a running process uses them."""


def clean_cache(root: Path) -> Cleaned:
    """Delete the caches below the tracking folder, except those that running processes use.

    Also deletes the unfinished files of killed processes. Raises StoreError if an unused entry
    cannot be deleted.
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
    """Iterate over entries that are deleted as a whole, each with its kind.

    Folders of small files are kept, empty, because a process may be about to write to one.
    """
    for kind in sorted(cache.iterdir()) if cache.is_dir() else []:
        if kind.name in WHOLE_FOLDERS and kind.is_dir():
            yield from ((entry, kind.name) for entry in sorted(kind.iterdir()))
        elif kind.is_dir():
            yield from ((item, kind.name) for item in sorted(_files(kind)))
        else:
            yield kind, kind.name


def _files(folder: Path) -> Iterator[Path]:
    """Iterate over the files below a folder (none for a file), ignoring those that vanish."""
    for top, _, names in os.walk(folder):
        yield from (Path(top, name) for name in names)


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:  # another process may have deleted or renamed it
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def tracking_uri(study: StudySettings) -> str:
    """Return the URI of the MLflow store.

    This is `tracking.uri`, else MLFLOW_TRACKING_URI, else SQLite in the tracking folder.
    """
    root = study.tracking.folder.absolute()
    # A relative SQLite path would name another database from another working directory.
    return (
        study.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root}/mlflow.db"
    )
