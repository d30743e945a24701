"""Peak memory of a piece of work: resident memory on a CPU, allocated memory on a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Work = Callable[[], None]

PEAK_MARK = Path("/proc/self/clear_refs")


def working_bytes(work: Work, device: torch.device, rehearsal: Work) -> int:
    """Return the peak memory of `work` in bytes, without its one-time allocations.

    `rehearsal` does the same work, possibly on less data: it loads code and compiles kernels, which
    should not count. It is skipped where the peak resident memory cannot be reset (outside Linux):
    only the process's highest peak is known there, and work that stays below it would seem to need
    no memory.
    """
    if device.type != "cpu" or _reset_resident_peak():
        rehearsal()
    return peak_bytes(work, device)


def peak_bytes(work: Work, device: torch.device) -> int:
    """Return the peak memory of `work` in bytes, relative to the memory in use before."""
    gc.collect()
    if device.type == "cuda":
        return _peak_on_cuda(work, device)
    if device.type == "mps":
        return _pool_on_mps(work)
    return _peak_resident(work)


def _peak_on_cuda(work: Work, device: torch.device) -> int:
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _pool_on_mps(work: Work) -> int:
    """Return the growth of Apple's emptied memory pool, since its allocator records no peak."""
    import torch

    torch.mps.empty_cache()
    before = torch.mps.driver_allocated_memory()
    work()
    torch.mps.synchronize()
    return torch.mps.driver_allocated_memory() - before


def _peak_resident(work: Work) -> int:
    _return_freed_memory()
    if _reset_resident_peak():
        before = _linux_bytes("VmRSS")
        work()
        return max(0, _linux_bytes("VmHWM") - before)
    before = highest_resident_bytes()
    work()
    return highest_resident_bytes() - before


def _return_freed_memory() -> None:
    """Release freed buffers to the system, since reusing them would hide allocations."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)


def _reset_resident_peak() -> bool:
    """Reset the process's peak resident memory; returns False if not possible."""
    try:
        PEAK_MARK.write_text("5")
    except OSError:
        return False
    return True


def _linux_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0


def process_peak_bytes() -> int:
    """Return the maximum resident memory of this program in bytes; 0 on Windows.

    On Linux, `highest_resident_bytes` includes what the parent process used before it started this
    program; this figure does not.
    """
    return _linux_bytes("VmHWM") if sys.platform == "linux" else highest_resident_bytes()


def highest_resident_bytes() -> int:
    """Return the process's maximum resident memory in bytes; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
