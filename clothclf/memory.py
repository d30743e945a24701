"""Available memory: the machine's, or less where a control group (cgroup) limits it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

SYSTEM = Path("/")


def available_memory_bytes(system: Path | None = None) -> int:
    """Return the memory in bytes that a new process can use without swapping or being killed.

    Respects control groups, whose limit in a container or a batch job is often far below the
    machine's memory. `system` is the root of the file system in which Linux describes them.
    """
    root = system or SYSTEM
    return min([psutil.virtual_memory().available, *_available_in_cgroups(root)])


def _available_in_cgroups(root: Path) -> Iterator[int]:
    """Yield the available bytes of each limited cgroup (v1 or v2) that contains this process."""
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = PurePosixPath(path.lstrip("/"))
        # Limits are inherited from parent groups; a container may show only the upper folders.
        for group in (own, *own.parents):
            if not controllers:
                names = ("memory.max", "memory.current", "inactive_file")
                yield from _available(groups / group, *names)
            elif "memory" in controllers.split(","):
                folder = groups / "memory" / group
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _available(folder, *names)


def _available(folder: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Yield the bytes available in one cgroup; nothing where it has no limit or is unreadable."""
    try:
        maximum = int((folder / limit).read_text("ascii"))
        used = int((folder / usage).read_text("ascii"))
        stat = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat"))
    except (OSError, ValueError):  # `max` means no limit
        return
    # The page cache counts as used, although the kernel can reclaim it.
    yield max(0, maximum - used + int(stat.get(cached, 0)))


def _lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines() if path.exists() else []
