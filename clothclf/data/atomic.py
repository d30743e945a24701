"""Atomic writes of files and folders: write to a temporary name, sync, then rename.

Also computes file checksums, to detect later changes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clothclf.data.in_use import lock_shared, protect, retain_lock

_syncs = True


@contextlib.contextmanager
def without_sync() -> Iterator[None]:
    """Do not wait for the disk in this process, for files that are deleted before it ends."""
    global _syncs
    _syncs = False
    try:
        yield
    finally:
        _syncs = True


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write; it replaces `path` when the block succeeds.

    Readers see either the old or the new content, never a part, even after a power failure.
    """
    name, lock = _new_temporary(path, is_folder=False)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        if _syncs:
            _sync(Path(name))
        os.replace(name, path)
        if _syncs:
            with contextlib.suppress(OSError):  # not every system supports fsync on a folder
                _sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    finally:
        os.close(lock)


def _new_temporary(path: Path, is_folder: bool) -> tuple[str, int]:
    """Create a hidden file or folder beside `path`; return its name and the locked descriptor."""
    for _ in range(10):
        if is_folder:
            name = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
        else:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
        lock = lock_shared(Path(name))
        if lock is not None:  # None: deleted before it was locked
            return name, lock
    raise FileNotFoundError(errno.ENOENT, "new files disappear immediately", str(path))


def _sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a file, atomically."""
    with new_file(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, content.encode("utf-8"))


STANDARD_OUTPUT = Path("-")


@contextlib.contextmanager
def regular_file(path: Path) -> Iterator[Path]:
    """Yield the regular file to write for a user-supplied output path.

    Symlinks are resolved and kept. `-` is standard output. Standard output, devices and FIFOs are
    never replaced: the content of a temporary file is copied to them when the block succeeds.
    Raises OSError, including IsADirectoryError for a folder.
    """
    stream = _stream(path)
    if stream is None:
        yield Path(os.path.realpath(path))
        return
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder, "output")
        yield unfinished
        sys.stdout.flush()
        handle = os.dup(stream) if isinstance(stream, int) else os.open(stream, os.O_WRONLY)
        with unfinished.open("rb") as source, os.fdopen(handle, "wb") as target:
            shutil.copyfileobj(source, target)


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a file to write that replaces `path` atomically; see `regular_file`."""
    with regular_file(path) as target:
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as unfinished:
            yield unfinished


def _stream(path: Path) -> int | Path | None:
    """Return the descriptor or device that `path` refers to; None for a regular file."""
    if path == STANDARD_OUTPUT:
        return 1
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # /dev/stdout may be a regular file with earlier output: write to it, do not replace it.
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.fstat(descriptor)):
                return descriptor
    return None if stat.S_ISREG(status.st_mode) else path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` on success and is removed on error.

    If two processes fill the same folder, the first to finish wins and the other copy is removed.
    The process then holds a lock on the folder (see `in_use`). Unfinished folders of killed
    processes beside it are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    name, lock = _new_temporary(path, is_folder=True)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o755)
        try:
            os.rename(unfinished, path)
            retain_lock(path.absolute(), os.dup(lock))
        except OSError:
            if not path.is_dir():
                raise
            protect(path)
        with contextlib.suppress(OSError):
            _sync(path.parent)
    finally:
        os.close(lock)
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill beside a user's folder `path`; it replaces that on success.

    Readers see the old or the new folder, and between two renames none. Symlinks are kept.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f".{glob.escape(path.name)}.new-*")
    unfinished = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.new-"))
    old = unfinished.with_name(f"{unfinished.name}.old")
    lock = lock_shared(unfinished)
    try:
        yield unfinished
        unfinished.chmod(0o755)
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, old)
        try:
            os.rename(unfinished, path)
        except OSError:
            os.rename(old, path)
            raise
        with contextlib.suppress(OSError):
            _sync(path.parent)
    finally:
        if lock is not None:
            os.close(lock)
        for left in (unfinished, old):
            shutil.rmtree(left, ignore_errors=True)


def sweep(folder: Path, pattern: str = ".*") -> None:
    """Delete hidden folders without a lock, which killed processes left behind."""
    for left in [item for item in folder.glob(pattern) if item.is_dir() and not item.is_symlink()]:
        try:
            lock = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # its process has just renamed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:  # locked, or the file system does not support locks
            pass
        finally:
            os.close(lock)


def set_aside(folder: Path) -> None:
    """Remove a damaged folder; rename it first, because other processes may be opening it."""
    aside = folder.with_name(f".{folder.name}.damaged-{os.getpid()}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def json_sha256(values: object) -> str:
    """Compute the SHA-256 of JSON values, the same whatever the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
