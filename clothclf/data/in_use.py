"""Files and folders of a cache that processes use: a lock says so, and dies with its process.

It is the system's lock on the file or folder itself, shared by all who use it. So it stays when a
folder is filled under another name and then renamed, and needs no file of its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

MAX_HELD = 64
"""Folders that one process keeps in use, the latest ones: a study has one for each image size."""

_held: dict[Path, int] = {}
_lock = threading.Lock()


def hold(path: Path) -> bool:
    """Keep a folder from being deleted by `delete_unused` while this process lives.

    Return False where it is not there.
    """
    path = path.absolute()
    try:
        handle = lock_shared(path)
    except OSError:  # not ours to read: its users will say so
        return False
    if handle is not None:
        keep_lock(path, handle)
    return handle is not None


def lock_shared(path: Path) -> int | None:
    """Lock a file or folder as used; return the open descriptor, None where it is not there.

    Closing the descriptor gives the lock back.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if _lock_handle(handle, fcntl.LOCK_SH) and _is_at(handle, path):
        return handle
    os.close(handle)  # deleted while we waited for the lock
    return None


def keep_lock(path: Path, handle: int) -> None:
    """Hold a lock of `lock_shared` until this process ends; `path` is where the folder now lies."""
    with _lock:
        dropped = [_held.pop(path)] if path in _held else []
        _held[path] = handle
        if len(_held) > MAX_HELD:
            dropped.append(_held.pop(next(iter(_held))))
    for old in dropped:
        os.close(old)


def delete_unused(path: Path) -> bool:
    """Delete a file or a folder, unless a process uses it; return whether it is gone.

    A folder vanishes in one step. Raises OSError where it cannot be deleted.
    """
    if path.is_symlink():
        path.unlink(missing_ok=True)
        return True
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if not _lock_handle(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return True
        aside = path.with_name(f".{path.name.lstrip('.')}.deleted-{os.getpid()}")
        os.rename(path, aside)
        shutil.rmtree(aside)
        return True
    except FileNotFoundError:  # another process was first
        return True
    finally:
        os.close(handle)


def _lock_handle(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: its users make again what they miss
        pass
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False
