"""Shared locks on cached files and folders, so that they are not deleted while in use.

These are system locks (flock) on the file or folder itself: they end with their process, survive a
rename of the folder, and need no lock file.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path

MAX_HELD = 64
"""Maximum folders that one process holds, the most recent: a study uses one per image size."""

_held: dict[Path, int] = {}
_lock = threading.Lock()


def protect(path: Path) -> bool:
    """Protect a folder from `delete_unused` until this process ends.

    Return False if it does not exist.
    """
    path = path.absolute()
    try:
        handle = lock_shared(path)
    except OSError:  # no permission: whoever opens it reports that
        return False
    if handle is not None:
        retain_lock(path, handle)
    return handle is not None


def lock_shared(path: Path) -> int | None:
    """Take a shared lock on a file or folder; return its descriptor, or None if it is missing.

    Closing the descriptor releases the lock.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if _lock_handle(handle, fcntl.LOCK_SH) and _is_at(handle, path):
        return handle
    os.close(handle)  # deleted while waiting for the lock
    return None


def retain_lock(path: Path, handle: int) -> None:
    """Keep a lock of `lock_shared` until this process ends; `path` is the folder's current path."""
    with _lock:
        dropped = [_held.pop(path)] if path in _held else []
        _held[path] = handle
        if len(_held) > MAX_HELD:
            dropped.append(_held.pop(next(iter(_held))))
    for old in dropped:
        os.close(old)


def delete_unused(path: Path) -> bool:
    """Delete a file or folder unless a process uses it; return whether it is gone.

    Folders are renamed first, so that they disappear atomically. Raises OSError if deleting fails.
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
    except FileNotFoundError:  # another process deleted it first
        return True
    finally:
        os.close(handle)


def _lock_handle(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    except OSError:  # no lock support: users of the cache rebuild what is missing
        pass
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False
