"""Files of a folder or of a zip archive, read by name; nothing is unpacked or followed out.

Names are relative, with `/` between their parts, in both.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from clothclf.errors import DataError


class Files(Protocol):
    """What a source needs of the place its files lie in."""

    def folders(self) -> list[str]:
        """Names of the top level's folders, sorted."""

    def names(self, folder: str) -> list[str]:
        """Names of the plain files right in `folder`, sorted; links to plain files count."""

    def has(self, name: str) -> bool:
        """Whether there is a plain file of this name."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's content; raises DataError where it has more than `limit` bytes."""

    def stamp(self, names: list[str]) -> str:
        """Text that changes when one of the files does, from sizes and times."""


def open_files(path: Path) -> Files:
    """Open a folder or a zip archive; raises DataError where `path` is neither."""
    try:
        if not path.exists():
            raise DataError(
                f"data.path: {path} does not exist; download the data set's zip from Kaggle "
                "and give its path, or that of its unpacked folder"
            )
        return _Folder(path) if path.is_dir() else _Zip(path)
    except (OSError, ValueError) as error:  # a path too long, with a NUL, or not ours to read
        raise DataError(f"data.path: {str(path)!r} cannot be read: {error}") from None


class _Folder:
    """Files below a folder; links that lead out of it are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def folders(self) -> list[str]:
        with _faults_told(self.path):
            return sorted(item.name for item in self.path.iterdir() if item.is_dir())

    def names(self, folder: str) -> list[str]:
        if not (self.path / folder).is_dir():
            return []
        with _faults_told(self.path / folder), os.scandir(self.path / folder) as items:
            # A pipe or a device would be waited for without end: plain files only.
            plain = (item for item in items if os.path.isfile(item.path))
            return sorted(f"{folder}/{item.name}" for item in plain)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str, limit: int) -> bytes:
        path = self.path / name
        with _faults_told(path):
            if not path.resolve().is_relative_to(self.path):
                raise DataError(f"{path}: is a link that leads out of {self.path}")
            with path.open("rb") as file:
                content = file.read(limit + 1)
        return _within(content, limit, str(path))

    def stamp(self, names: list[str]) -> str:
        with _faults_told(self.path):
            stats = [(name, (self.path / name).stat()) for name in names]
        return f"{self.path} " + " ".join(f"{n}:{s.st_size}:{s.st_mtime_ns}" for n, s in stats)


@contextlib.contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # links in a circle are a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read: {reason}") from None


class _Zip:
    """Members of a zip archive; absolute names, names with `..` and links are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # One archive for all threads: opening it once for each would read its long table of
        # contents again, and members are small beside the decoding that follows.
        self._lock = threading.Lock()
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises many kinds on damaged archives
            raise DataError(
                f"data.path: {path} is not a readable zip archive ({error}); download it again, "
                "or give its unpacked folder"
            ) from None
        self._members = {
            info.filename: info for info in self._archive.infolist() if _is_plain(info)
        }
        self._by_folder: dict[str, list[str]] = {}
        for name in sorted(self._members):
            self._by_folder.setdefault(name.rpartition("/")[0], []).append(name)

    def folders(self) -> list[str]:
        return sorted({folder.partition("/")[0] for folder in self._by_folder} - {""})

    def names(self, folder: str) -> list[str]:
        return self._by_folder.get(folder, [])

    def has(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str, limit: int) -> bytes:
        where = f"{self.path}/{name}"
        info = self._members[name]
        if info.flag_bits & 1:
            raise DataError(
                f"{where}: is encrypted; unpack the archive with its password and give the folder"
            )
        try:
            with self._lock, self._archive.open(info) as file:
                content = file.read(limit + 1)
        except Exception as error:  # zipfile raises a dozen kinds on damaged members
            raise DataError(f"{where}: cannot be read: {error}") from None
        return _within(content, limit, where)

    def stamp(self, names: list[str]) -> str:
        status = self.path.stat()
        return f"{self.path.resolve()}:{status.st_size}:{status.st_mtime_ns}"


def _is_plain(info: zipfile.ZipInfo) -> bool:
    if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
        return False
    return not info.filename.startswith("/") and ".." not in info.filename.split("/")


def _within(content: bytes, limit: int, where: str) -> bytes:
    if len(content) > limit:
        raise DataError(f"{where}: is larger than {limit / 2**20:g} MiB")
    return content
