"""Limit the memory of this process.

Allocations beyond the limit fail, so that a step is split up before the system kills the process.
"""

from __future__ import annotations

import resource
from pathlib import Path


def limit_memory(byte_count: int) -> None:
    """Limit this process to `byte_count` bytes besides mapped files; only has an effect on Linux.

    The system limits reserved memory, which is far more than resident memory. The limit is
    therefore the memory reserved now plus what may still be allocated. Raises MemoryError if the
    process already holds more.
    """
    reserved, held = _kibibytes("VmData:"), _kibibytes("RssAnon:")
    if reserved is None or held is None:
        return
    left = byte_count - 1024 * held
    if left <= 0:
        raise MemoryError(f"the model alone uses {held // 1024:,} MiB, more than limits.memory_mib")
    limit = 1024 * reserved + left
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _kibibytes(name: str) -> int | None:
    """Return a value in KiB from `/proc/self/status`, or None if it is not there."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return None
    _, separator, rest = status.partition(name)
    return int(rest.split()[0]) if separator else None
