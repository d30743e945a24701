"""Notice what other processes compute while something is measured; it imports no torch."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Others' share from which figures suffer: a twentieth of the cores, and on large machines half a
# core already, since one thread that is held up holds up all that wait for it.
NOTICED_SHARE = 0.05
NOTICED_CORES = 0.5
# Load averages count what waits for a disk, too, and remember the last minutes.
NOTICED_LOAD_SHARE = 0.5
LOOK_S = 1.0


class BusyWatch:
    """Compare what the cores did with what this process did, from now on."""

    def __init__(self) -> None:
        """Begin; elsewhere than on Linux, the load so far is all there is to know."""
        self._cores = _usable_cores()
        self._load = _load_average()
        self._started = _moment(self._cores)

    def describe(self) -> str:
        """In words, what others computed meanwhile; empty if it was next to nothing."""
        ended = _moment(self._cores)
        cores = len(self._cores)
        if self._started is None or ended is None:
            return describe_load(self._load, cores)
        seconds, busy, own = (b - a for a, b in zip(self._started, ended, strict=True))
        return describe_others((busy - own) / seconds if seconds > 0 else 0.0, cores)


def busy_now(seconds: float = 0.5) -> str:
    """In words, what others compute during the next `seconds`; empty if next to nothing."""
    watch = BusyWatch()
    time.sleep(seconds)
    return watch.describe()


def wait_until_idle(most_s: float) -> bool:
    """Wait until others leave the cores alone for a second; False if they do not in `most_s`."""
    end = time.monotonic() + most_s
    while busy_now(LOOK_S):
        if time.monotonic() >= end:
            return False
    return True


def describe_others(used: float, cores: int) -> str:
    """Say how many cores others used on average; empty if too little to matter."""
    if used <= min(NOTICED_SHARE * cores, NOTICED_CORES):
        return ""
    return f"other processes used {min(used, cores):.1f} of {cores} cores while measuring"


def describe_load(load: float, cores: int) -> str:
    """Say how long the queue for the cores was before; empty if short."""
    if load <= NOTICED_LOAD_SHARE * cores:
        return ""
    return f"the load average on {cores} cores was {load:.1f} before measuring"


def _usable_cores() -> set[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _moment(cores: set[int]) -> tuple[float, float, float] | None:
    """Clock, and processor seconds of the cores and of this process; None without /proc/stat."""
    try:
        lines = Path("/proc/stat").read_text("ascii").splitlines()
    except OSError:
        return None
    return time.perf_counter(), _busy_seconds(lines, cores), time.process_time()


def _busy_seconds(lines: list[str], cores: set[int]) -> float:
    """Seconds since the start of the machine that the cores did not idle, summed."""
    ticks = 0
    for line in lines:
        name, *columns = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cores:
            user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, columns[:8])
            # Stolen time went to other machines on the same host: as bad as other processes.
            ticks += user + nice + system + irq + softirq + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _load_average() -> float:
    """Processes that wanted a core, on average over the last minute; 0 where no one knows."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows; or the system does not tell
        return 0.0
