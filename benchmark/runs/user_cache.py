"""The user's cache folder: what every study would make again, such as the page's chart library."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from clothclf.data.atomic import write_bytes


def user_cache_folder() -> Path:
    """Return the folder of this user's caches; raises RuntimeError without a home folder.

    It is below XDG_CACHE_HOME, else ~/.cache, and never in a tracking folder, which may come from
    somebody else: what is read from here ends up in pages and databases.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "bench-architectures"


def cached_bytes(name: str, make: Callable[[], bytes]) -> bytes:
    """Return the content of a file in the user's cache, or make and cache it.

    `name` must change whenever the content would. A damaged file is made again; a cache that
    cannot be written is not used.
    """
    file = None
    with contextlib.suppress(OSError, RuntimeError):
        file = user_cache_folder() / name
        digest, _, content = file.read_bytes().partition(b"\n")
        if digest == _digest(content):
            return content
    content = make()
    if file is not None:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, _digest(content) + b"\n" + content)
    return content


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
