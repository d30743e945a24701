"""Read files of a folder or zip archive by name, without unpacking and never outside of it.

Names are relative, with `/` as the separator.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from clothclf.data.sources.listing import is_one_line
from clothclf.errors import DataError
from clothclf.settings import DataSettings

MAX_FILES = 3_000_000
"""Maximum number of files in a folder or archive; same as the maximum lines of a table."""

UNUSABLE_NAME = "file name is not plain text"
UNPRINTABLE_NAME = "not a regular file: a link, a pipe or a device"
LEADS_OUT = "file name points outside the archive"
REPEATED = "file occurs again in the archive"

_HEADER_BYTES = 30
"""Minimum size of the header before each member, in bytes."""


class Files(Protocol):
    """Interface to the files of a source, in a folder or an archive."""

    def folders(self) -> list[str]:
        """Return the sorted names of the top-level folders."""

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of regular files directly in `folder`, including links."""

    def all_names(self) -> list[str]:
        """Return the sorted names of all regular files; raises DataError if there are too many."""

    def left_out(self) -> list[tuple[str, str]]:
        """Return skipped files, sorted, each with a reason; call it after `all_names`."""

    def has(self, name: str) -> bool:
        """Whether a regular file of this name exists."""

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's content; raises DataError if it has more than `limit` bytes."""

    def stamp(self, names: list[str]) -> str:
        """Return text that changes when one of the files does, from sizes and times."""


def path_of(settings: DataSettings) -> Path:
    """Return `data.path` of a source that needs it; raises DataError if it is not set."""
    if settings.path is None:
        raise DataError(f"data.path: required by source {settings.source}")
    return settings.path


def open_files(path: Path) -> Files:
    """Open a folder or zip archive; raises DataError if `path` is neither."""
    try:
        if not path.exists():
            raise DataError(
                f"data.path: {path} does not exist; download the data set and give the path of "
                "its zip or unpacked folder"
            )
        if path.is_dir():
            return _Folder(path)
        if not path.is_file():  # opening a pipe would block
            raise DataError(f"data.path: {path} is neither a zip archive nor a folder")
        return _Zip(path)
    except (OSError, ValueError) as error:  # a path that is too long, has a NUL or no permission
        raise DataError(f"data.path: {str(path)!r} cannot be read: {error}") from None


class _Folder:
    """Files below a folder; links that point outside of it are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._left_out: list[tuple[str, str]] = []

    def folders(self) -> list[str]:
        """Return the sorted names of the top-level folders."""
        with _errors_as_text(self.path):
            items = [item.name for item in self.path.iterdir() if item.is_dir()]
            return sorted(name for name in items if is_one_line(name))

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of regular files directly in `folder`."""
        if not (self.path / folder).is_dir():
            return []
        with _errors_as_text(self.path / folder), os.scandir(self.path / folder) as items:
            # Regular files only: opening a pipe or device would block.
            plain = (item for item in items if os.path.isfile(item.path))
            return sorted(f"{folder}/{item.name}" for item in plain)

    def all_names(self) -> list[str]:
        """Return the sorted names of all regular files."""
        names: list[str] = []
        self._left_out = []
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with _errors_as_text(self.path / folder), os.scandir(self.path / folder) as items:
                for item in items:
                    if item.is_dir():
                        if item.is_symlink():  # it may point outside, or form a loop
                            raise DataError(
                                f"{item.path}: is a link to a folder, which is not followed; "
                                "replace it with the folder"
                            )
                        waiting.append(f"{folder}{item.name}/")
                    elif reason := _problem(f"{folder}{item.name}", item.is_file()):
                        self._left_out.append((f"{folder}{item.name}", reason))
                    else:
                        names.append(f"{folder}{item.name}")
            if len(names) > MAX_FILES:
                raise _too_many(self.path)
        return sorted(names)

    def left_out(self) -> list[tuple[str, str]]:
        """Return skipped files with their reasons, sorted."""
        return sorted(self._left_out)

    def has(self, name: str) -> bool:
        """Whether a regular file of this name exists."""
        return (self.path / name).is_file()

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's content of at most `limit` bytes."""
        path = self.path / name
        with _errors_as_text(path):
            if not path.resolve().is_relative_to(self.path):
                raise DataError(f"{path}: is a link that points outside {self.path}")
            with path.open("rb") as file:
                content = file.read(limit + 1)
        return _within(content, limit, str(path))

    def stamp(self, names: list[str]) -> str:
        """Return text that changes when one of the files does."""
        with _errors_as_text(self.path):
            stats = [(name, (self.path / name).stat()) for name in names]
        return f"{self.path} " + " ".join(f"{n}:{s.st_size}:{s.st_mtime_ns}" for n, s in stats)


@contextlib.contextmanager
def _errors_as_text(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read: {reason}") from None


class _Member(NamedTuple):
    """Fields needed to read a member of an archive."""

    offset: int
    packed_size: int
    size: int
    crc: int
    method: int
    flags: int
    stored_name: str
    """Name in the archive, before zipfile changes it."""

    @classmethod
    def of(cls, info: zipfile.ZipInfo) -> _Member:
        """Return the fields of a `zipfile.ZipInfo`."""
        return cls(
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type,
            info.flag_bits,
            info.orig_filename,
        )

    def info(self, name: str) -> zipfile.ZipInfo:
        """Return the equivalent `zipfile.ZipInfo`."""
        info = zipfile.ZipInfo(name)
        info.header_offset, info.compress_size, info.file_size = self[:3]
        info.CRC, info.compress_type, info.flag_bits, info.orig_filename = self[3:]
        return info


class _Zip:
    """Members of a zip archive; those with unsafe names or that are not regular files are skipped.

    An archive whose members share bytes is refused: a small one could unpack to any size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # One archive for all threads: opening it per thread would read its long directory again,
        # and reading a member is fast compared to decoding it.
        self._lock = threading.Lock()
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises many types on damaged archives
            raise DataError(
                f"data.path: {path} is not a readable zip archive ({error}); download it again, "
                "or give its unpacked folder"
            ) from None
        infos = self._archive.infolist()
        if shared := _overlap(infos):
            raise DataError(
                f"data.path: {path} is not a usable zip archive: its members {shared} share the "
                "same bytes; create the archive again, or give its unpacked folder"
            )
        self._members: dict[str, _Member] = {}
        self._left_out: list[tuple[str, str]] = []
        self._repeated: set[str] = set()
        for info in infos:
            if info.filename.endswith("/"):
                continue
            if reason := _member_error(info):
                self._left_out.append((info.orig_filename, reason))
                continue
            member = _Member.of(info)
            first = self._members.setdefault(info.filename, member)
            if first is not member:
                self._left_out.append((info.filename, REPEATED))
            if (first.crc, first.size) != (member.crc, member.size):
                self._repeated.add(info.filename)
        # zipfile's own table takes five times the memory per member.
        infos.clear()
        self._archive.NameToInfo.clear()
        self._by_folder: dict[str, list[str]] = {}
        for name in sorted(self._members):
            self._by_folder.setdefault(name.rpartition("/")[0], []).append(name)

    def folders(self) -> list[str]:
        """Return the sorted names of the top-level folders."""
        return sorted({folder.partition("/")[0] for folder in self._by_folder} - {""})

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of regular files directly in `folder`."""
        return self._by_folder.get(folder, [])

    def all_names(self) -> list[str]:
        """Return the sorted names of all regular files."""
        if len(self._members) > MAX_FILES:
            raise _too_many(self.path)
        return sorted(self._members)

    def left_out(self) -> list[tuple[str, str]]:
        """Return skipped files with their reasons, sorted."""
        return sorted(self._left_out)

    def has(self, name: str) -> bool:
        """Whether a regular file of this name exists."""
        return name in self._members

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's content of at most `limit` bytes."""
        where = f"{self.path}/{name}"
        info = self._members[name].info(name)
        if name in self._repeated:
            raise DataError(
                f"{where}: occurs more than once in the archive, with different content; keep one "
                "of them"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks other methods completely before it returns the first byte.
            raise DataError(
                f"{where}: is compressed with a method other than deflate; create the archive "
                "again, or give its unpacked folder"
            )
        if info.file_size > limit:
            raise _too_large(limit, where)
        if info.flag_bits & 1:
            raise DataError(
                f"{where}: is encrypted; unpack the archive with its password and give the folder"
            )
        try:
            with self._lock, self._archive.open(info) as file:
                content = file.read(limit + 1)
        except Exception as error:  # zipfile raises many types on damaged members
            raise DataError(f"{where}: cannot be read: {error}") from None
        return _within(content, limit, where)

    def stamp(self, names: list[str]) -> str:
        """Return text that changes when one of the files does."""
        status = self.path.stat()
        return f"{self.path.resolve()}:{status.st_size}:{status.st_mtime_ns}"


def _problem(name: str, is_plain: bool) -> str:
    """Return why a file cannot be used, from its name and type; empty if it can."""
    if not is_one_line(name):
        return UNUSABLE_NAME
    return "" if is_plain else UNPRINTABLE_NAME


def _member_error(info: zipfile.ZipInfo) -> str:
    name = info.filename
    if "\0" in info.orig_filename or not name:  # zipfile truncates a name at its first NUL
        return UNUSABLE_NAME
    if name.startswith("/") or ".." in name.split("/"):
        return LEADS_OUT
    # Archives not made on Unix do not store the file type.
    kind = stat.S_IFMT(info.external_attr >> 16)
    return _problem(name, kind in (0, stat.S_IFREG))


def _overlap(infos: list[zipfile.ZipInfo]) -> str:
    """Return the names of two members that share bytes; empty if there are none."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    for first, second in itertools.pairwise(ordered):
        if first.header_offset + _HEADER_BYTES + first.compress_size > second.header_offset:
            return f"{first.filename[:80]!r} and {second.filename[:80]!r}"
    return ""


def _too_many(path: Path) -> DataError:
    return DataError(f"data.path: {path} has more than {MAX_FILES:,} files; give a subset")


def _within(content: bytes, limit: int, where: str) -> bytes:
    if len(content) > limit:
        raise _too_large(limit, where)
    return content


def _too_large(limit: int, where: str) -> DataError:
    return DataError(f"{where}: is larger than {limit / 2**20:g} MiB")
