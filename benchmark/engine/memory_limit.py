"""Let allocations beyond a limit fail, so that a step is done in parts and nothing is killed."""

from __future__ import annotations

import resource
from pathlib import Path


def limit_memory(byte_count: int) -> None:
    """Let this process hold so many bytes beside the files that it maps; Linux alone can.

    The system limits what is reserved, which is far more than what is held: so the limit is what is
    reserved now, and what may still come. Raises MemoryError where it is passed already.
    """
    reserved, held = _kibibytes("VmData:"), _kibibytes("RssAnon:")
    if reserved is None or held is None:
        return
    left = byte_count - 1024 * held
    if left <= 0:
        raise MemoryError(f"the model alone takes {held // 1024:,} MiB, beyond limits.memory_mib")
    limit = 1024 * reserved + left
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _kibibytes(name: str) -> int | None:
    """A line of the process's status; None where there is none."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return None
    _, found, rest = status.partition(name)
    return int(rest.split()[0]) if found else None
