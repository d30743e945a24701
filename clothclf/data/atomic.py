"""Files and folders that appear whole or not at all: written aside, synced, then renamed.

And how to tell later whether a file is still what was written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clothclf.data.in_use import hold, keep_lock, lock_shared


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a file to write; it takes the place of `path` when the block ends well.

    A reader sees the old content or the new, never a part, through a power cut as well.
    """
    name, lock = _new_temporary(path, is_folder=False)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        _sync(Path(name))
        os.replace(name, path)
        with contextlib.suppress(OSError):  # not every system can sync a folder
            _sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    finally:
        os.close(lock)


def _new_temporary(path: Path, is_folder: bool) -> tuple[str, int]:
    """A new hidden file or folder beside `path`, and the descriptor that keeps it in use."""
    for _ in range(10):
        if is_folder:
            name = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
        else:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
        lock = lock_shared(Path(name))
        if lock is not None:  # else it was deleted before it was locked
            return name, lock
    raise FileNotFoundError(errno.ENOENT, "new files vanish at once", str(path))


def _sync(path: Path) -> None:
    """Make a file's content, or a folder's renames, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole."""
    with new_file(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, content.encode("utf-8"))


STANDARD_OUTPUT = Path("-")


@contextlib.contextmanager
def regular_file(path: Path) -> Iterator[Path]:
    """Yield the regular file to write for a path that a user named.

    That is the file itself, behind any symlinks, which stay. `-` is standard output; this and what
    exists and is no regular file (a device, a fifo) gets the content of a temporary file when the
    block ends well, and is never replaced. Raises OSError, IsADirectoryError for a folder.
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
    """Yield a file to write in place of `path`, which appears whole; see `regular_file`."""
    with regular_file(path) as target:
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as unfinished:
            yield unfinished


def _stream(path: Path) -> int | Path | None:
    """What content for `path` is copied to: a descriptor, a device; None for a regular file."""
    if path == STANDARD_OUTPUT:
        return 1
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # /dev/stdout may lead to a regular file, which holds what the shell wrote before.
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return descriptor
    return None if stat.S_ISREG(found.st_mode) else path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `path` when the block ends well and vanishes otherwise.

    Where two processes fill the same folder, the first to finish wins and the other's is removed.
    The folder counts as used by this process from then on (see `in_use`). Folders that killed
    processes left unfinished beside it are removed.
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
            keep_lock(path.absolute(), os.dup(lock))
        except OSError:
            if not path.is_dir():
                raise
            hold(path)
        with contextlib.suppress(OSError):
            _sync(path.parent)
    finally:
        os.close(lock)
        shutil.rmtree(unfinished, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete hidden folders that no process holds a lock on: theirs was killed."""
    for left in [item for item in folder.glob(".*") if item.is_dir() and not item.is_symlink()]:
        try:
            lock = os.open(left, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has just become what it was to be
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:  # locked, or on a file system without locks
            pass
        finally:
            os.close(lock)


def set_aside(folder: Path) -> None:
    """Remove a damaged folder, out of the way in one step: others may be opening it."""
    aside = folder.with_name(f".{folder.name}.damaged-{os.getpid()}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
