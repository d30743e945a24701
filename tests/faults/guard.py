"""Records the side effects of a block: files that it writes and programs that it starts."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")

_watches: list[tuple[Path, list[str]]] = []
_installed: list[bool] = []


@contextlib.contextmanager
def nothing_but(folder: Path) -> Iterator[None]:
    """Fail if the block, in any thread, changes a file outside `folder` or starts a program."""
    if not _installed:
        sys.addaudithook(_hear)  # audit hooks cannot be removed: it is active only during a watch
        _installed.append(True)
    seen: list[str] = []
    watch = (folder.resolve(), seen)
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)
    assert not seen, seen


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if not _watches:
        return
    if event in _PROGRAMS:
        result = [f"{event} {arguments[0]!r}"]
    elif event in _CHANGES or (event == "open" and _writes(arguments)):
        paths = [item for item in arguments[:2] if isinstance(item, (str, bytes, os.PathLike))]
        result = [f"{event} {os.fsdecode(item)}" for item in paths if event != "open"]
        result += [f"open {os.fsdecode(item)}" for item in paths[:1] if event == "open"]
    else:
        return
    for folder, seen in _watches:
        seen += [line for line in result if event in _PROGRAMS or not _belongs(line, folder)]


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & _WRITING)


def _belongs(line: str, folder: Path) -> bool:
    path = line.partition(" ")[2]
    # Python writes bytecode caches beside imported modules.
    own = "__pycache__" in path or path == os.devnull
    return own or os.path.abspath(path).startswith(f"{folder}{os.sep}")
