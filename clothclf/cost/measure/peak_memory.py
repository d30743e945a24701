"""How much memory a piece of work holds at its peak: resident on a CPU, allocated on a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch

Work = Callable[[], None]

PEAK_MARK = Path("/proc/self/clear_refs")


def working_bytes(work: Work, device: torch.device, rehearsal: Work) -> int:
    """What `work` holds at its peak beyond what was held before, and beyond what only once is.

    `rehearsal` does the same, perhaps with less: it reads in code and compiles kernels, which are
    not the work's. Where Linux's peak mark cannot be set back there is none, since the highest peak
    so far is all that is known; work that stays below earlier work then seems to need nothing.
    """
    if device.type != "cpu" or _forget_resident_peak():
        rehearsal()
    return peak_bytes(work, device)


def peak_bytes(work: Work, device: torch.device) -> int:
    """What `work` holds at its peak beyond what was held before."""
    gc.collect()
    if device.type == "cuda":
        return _peak_on_cuda(work, device)
    if device.type == "mps":
        return _pool_on_mps(work)
    return _peak_resident(work)


def _peak_on_cuda(work: Work, device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _pool_on_mps(work: Work) -> int:
    """Apple's allocator keeps no peak, but its emptied pool grows as far as the work needs."""
    torch.mps.empty_cache()
    before = torch.mps.driver_allocated_memory()
    work()
    torch.mps.synchronize()
    return torch.mps.driver_allocated_memory() - before


def _peak_resident(work: Work) -> int:
    _return_freed_memory()
    if _forget_resident_peak():
        before = _linux_bytes("VmRSS")
        work()
        return max(0, _linux_bytes("VmHWM") - before)
    before = highest_resident_bytes()
    work()
    return highest_resident_bytes() - before


def _return_freed_memory() -> None:
    """Freed buffers that the C library keeps would hide what the work takes from them."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # other libraries than glibc
            ctypes.CDLL(None).malloc_trim(0)


def _forget_resident_peak() -> bool:
    """Set the process's peak mark to what it holds now; False where that cannot be."""
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


def highest_resident_bytes() -> int:
    """The process's highest peak since it started; 0 on Windows, which does not tell it so."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
