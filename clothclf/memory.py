"""Memory that a process may still take: the machine's, or less where a control group limits it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

SYSTEM = Path("/")


def available_memory_bytes(system: Path | None = None) -> int:
    """Bytes that a new process could hold without anything being killed or swapped out.

    `system` is the root of the file system, where Linux tells of control groups; in a container
    or a batch job their limit is often far below what the machine has.
    """
    root = system or SYSTEM
    return min([psutil.virtual_memory().available, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each limited control group around this process has left, in versions 1 and 2."""
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = PurePosixPath(path.lstrip("/"))
        # A limit above holds below; in a container the upper folders alone can be seen.
        for above in (own, *own.parents):
            if not controllers:
                yield from _left(groups / above, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                folder = groups / "memory" / above
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _left(folder, *names)


def _left(folder: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Nothing where the group has no limit, or does not tell."""
    try:
        most = int((folder / limit).read_text("ascii"))
        used = int((folder / usage).read_text("ascii"))
        stat = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat"))
    except (OSError, ValueError):  # `max` is no number
        return
    # Files in the cache count as used, though the system can take them back.
    yield max(0, most - used + int(stat.get(cached, 0)))


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines() if path.exists() else []
