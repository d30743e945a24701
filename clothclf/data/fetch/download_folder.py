"""Download folders: filled under a temporary name over any number of attempts, then renamed.

Under its own name a folder is complete. A record in it says where its files came from.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock

from clothclf.data.atomic import file_sha256, write_text
from clothclf.errors import DataError

RECORD = "fetched.json"

Progress = Callable[[int, int], None]
"""Called with the number of bytes done and in total."""


@dataclass(frozen=True)
class Fetched:
    """Complete download of a data set in a folder."""

    folder: Path
    source: Literal["hub", "kaggle"]
    """Value of `data.source` to read it."""
    dataset: str
    """Name of the data set: owner/name, as in its address."""
    version: str
    """Commit or version number."""
    files: int
    size: int
    """Total size of all files in bytes."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Checksums from the server by relative file name; empty if it has only one for all files."""
    already_existed: bool = False

    @property
    def origin(self) -> str:
        """Short name: data set and abbreviated version."""
        return f"{self.dataset}@{self.version[:8]}"


def fetched_before(folder: Path, thorough: bool = False) -> Fetched | None:
    """Return the existing download in a folder; None if the folder is missing or empty.

    `thorough` reads all files to verify their checksums. Raises DataError if the folder has other
    content, or files are missing or changed.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if not (folder / RECORD).is_file():
            raise DataError(
                f"{folder}: exists and was not fetched by bench; choose another folder with --to"
            )
        record = json.loads((folder / RECORD).read_text("utf-8"))
        download = Fetched(folder, **record, already_existed=True)
        if (download.files, download.size) != _count(folder):
            raise DataError(f"{folder}: has missing or changed files; {_AGAIN}")
        for name, checksum in download.sha256.items() if thorough else ():
            if file_sha256(folder / name) != checksum:
                raise DataError(f"{folder / name}: has changed since it was downloaded; {_AGAIN}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{folder}: cannot be used: {error}; {_AGAIN}") from None
    return download


_AGAIN = "delete the folder and fetch it again"


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` to fill, which is kept for the next try on error.

    `put_in_place` moves its subfolder `whole` into place. One process at a time fills it; others
    wait. Raises DataError if it cannot be written.
    """
    unfinished = folder.parent / f".{folder.name}.part"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            (unfinished / "whole").mkdir(parents=True, exist_ok=True)
            yield unfinished
            if folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                with contextlib.suppress(OSError):
                    (folder.parent / f".{folder.name}.lock").unlink()
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from None


def put_in_place(unfinished: Path, fetched: Fetched) -> Fetched:
    """Write the record into `whole` and rename it to its own name; return the record."""
    whole = unfinished / "whole"
    files, size = _count(whole)
    record = {
        "source": fetched.source,
        "dataset": fetched.dataset,
        "version": fetched.version,
        "files": files,
        "size": size,
        "sha256": fetched.sha256,
    }
    write_text(whole / RECORD, json.dumps(record, indent=1) + "\n")
    os.rename(whole, fetched.folder)  # fails unless the target is missing or empty
    return Fetched(fetched.folder, **record)  # type: ignore[arg-type]


def _count(folder: Path) -> tuple[int, int]:
    """Count a folder's files and their bytes, without the record and hidden files."""
    files = [Path(top, name) for top, _, names in os.walk(folder) for name in names]
    ours = [path for path in files if path != folder / RECORD and not path.name.startswith(".")]
    return len(ours), sum(path.stat().st_size for path in ours)
