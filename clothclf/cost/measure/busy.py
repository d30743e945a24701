"""Detect CPU use by other processes during a measurement. Does not import torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

# CPU use by others that affects results: 5 % of the cores, but at most half a core, since one
# delayed thread delays all threads that wait for it.
MAX_CPU_SHARE = 0.05
NOTICED_CORES = 0.5
# Higher, since load averages include processes that wait for a disk, and the last minutes.
MAX_LOAD_SHARE = 0.5
WINDOW_S = 1.0
MAX_ATTEMPTS = 3
# Before each further attempt, at most; a busy machine delays each measurement.
MAX_WAIT_S = 5.0

Result = TypeVar("Result")


class BusyWatch:
    """Compare the CPU time of the usable cores with that of this process."""

    def __init__(self) -> None:
        """Start watching; on systems other than Linux, only the load average is known."""
        self._cores = usable_cores()
        self._load = _load_average()
        self._started = _moment(self._cores)

    def describe(self) -> str:
        """Describe the CPU use by others since the start; empty if negligible."""
        ended = _moment(self._cores)
        cores = len(self._cores)
        if self._started is None or ended is None:
            return describe_load(self._load, cores)
        seconds, busy, own = (b - a for a, b in zip(self._started, ended, strict=True))
        return describe_others((busy - own) / seconds if seconds > 0 else 0.0, cores)


def busy_now(seconds: float = 0.5) -> str:
    """Describe the CPU use by others during the next `seconds`; empty if negligible."""
    watch = BusyWatch()
    time.sleep(seconds)
    return watch.describe()


def wait_until_idle(max_s: float) -> bool:
    """Wait until the cores are idle for a second; returns False if not within `max_s` seconds."""
    end = time.monotonic() + max_s
    while busy_now(WINDOW_S):
        if time.monotonic() >= end:
            return False
    return True


def calmest(
    measure: Callable[[], Result],
    disturbance: Callable[[Result], tuple[str, float]],
    wait: Callable[[], bool] = lambda: wait_until_idle(MAX_WAIT_S),
) -> Result:
    """Measure until undisturbed; after MAX_ATTEMPTS, return the result with the lowest latency.

    `disturbance` returns why a result is disturbed, empty if it is not, and its latency. `wait` is
    called before another attempt and returns whether the machine is idle; if it is not, another
    attempt would be no better.
    """

    def rank(result: Result) -> tuple[bool, float]:
        busy, latency = disturbance(result)
        return bool(busy), latency

    results = [measure()]
    while rank(results[-1])[0] and len(results) < MAX_ATTEMPTS and wait():
        results.append(measure())
    return min(results, key=rank)


def describe_others(used: float, cores: int) -> str:
    """Describe how many cores others used on average; empty if negligible."""
    if used <= min(MAX_CPU_SHARE * cores, NOTICED_CORES):
        return ""
    return f"other processes used {min(used, cores):.1f} of {cores} cores while measuring"


def describe_load(load: float, cores: int) -> str:
    """Describe the load average before the measurement; empty if low."""
    if load <= MAX_LOAD_SHARE * cores:
        return ""
    return f"the load average on {cores} cores was {load:.1f} before measuring"


def usable_cores() -> set[int]:
    """Return the IDs of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _moment(cores: set[int]) -> tuple[float, float, float] | None:
    """Return time and CPU seconds of the cores and of this process; None without /proc/stat."""
    try:
        lines = Path("/proc/stat").read_text("ascii").splitlines()
    except OSError:
        return None
    return time.perf_counter(), _busy_seconds(lines, cores), time.process_time()


def _busy_seconds(lines: list[str], cores: set[int]) -> float:
    """Return the total busy seconds of the cores since boot."""
    ticks = 0
    for line in lines:
        name, *columns = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cores:
            user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, columns[:8])
            # Stolen time, used by other virtual machines, disturbs like other processes.
            ticks += user + nice + system + irq + softirq + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _load_average() -> float:
    """Return the load average of the last minute; 0 if unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows, or not available
        return 0.0
