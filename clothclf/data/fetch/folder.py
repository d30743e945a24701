"""A folder that is fetched: filled beside its place over as many attempts as it takes, then moved.

Under its own name it is whole or not there. A record within says where it came from.
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
"""Called with bytes done and bytes in all."""


@dataclass(frozen=True)
class Fetched:
    """A data set that lies whole in a folder."""

    folder: Path
    source: Literal["hub", "kaggle"]
    """What `data.source` is to read it by."""
    dataset: str
    """As in its address: owner/name."""
    version: str
    """Commit or number of the version."""
    files: int
    size: int
    """Bytes of all files."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Checksum by relative name, as the sender told it; empty where it told one for all."""
    was_there: bool = False

    @property
    def origin(self) -> str:
        """Data set and version, in short."""
        return f"{self.dataset}@{self.version[:8]}"


def fetched_before(folder: Path, thorough: bool = False) -> Fetched | None:
    """What was fetched to a folder; None where it is not there, or empty.

    `thorough` reads all of it to compare checksums. Raises DataError where something else is
    there, or files are missing or changed.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if not (folder / RECORD).is_file():
            raise DataError(
                f"{folder}: is there already, and was not fetched by bench; name another with --to"
            )
        record = json.loads((folder / RECORD).read_text("utf-8"))
        found = Fetched(folder, **record, was_there=True)
        if (found.files, found.size) != _count(folder):
            raise DataError(f"{folder}: has files that are missing or changed; {_AGAIN}")
        for name, checksum in found.sha256.items() if thorough else ():
            if file_sha256(folder / name) != checksum:
                raise DataError(
                    f"{folder / name}: has another checksum than when it came; {_AGAIN}"
                )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{folder}: cannot be used: {error}; {_AGAIN}") from None
    return found


_AGAIN = "delete the folder and fetch it again"


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` to fill; left by an error, it is there for the next attempt.

    What was put into its folder `whole` is moved into place by `put_in_place`. One process at a
    time fills it; another waits. Raises DataError where nothing can be written there.
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
    """Move `whole` to its own name, with a record; return the record."""
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
    os.rename(whole, fetched.folder)  # an empty folder may be there, nothing else
    return Fetched(fetched.folder, **record)  # type: ignore[arg-type]


def _count(folder: Path) -> tuple[int, int]:
    """Files of a folder but the record and hidden ones, and their bytes."""
    files = [Path(top, name) for top, _, names in os.walk(folder) for name in names]
    ours = [path for path in files if path != folder / RECORD and not path.name.startswith(".")]
    return len(ours), sum(path.stat().st_size for path in ours)
