"""How long to time something: repeat it until the figure is precise. Does not import torch."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clothclf.cost.measure.median import relative_half_width

Work = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """Duration of a measurement: until all minimums are reached, or one of the maximums."""

    min_s: float
    min_passes: int
    max_s: float
    max_passes: int
    half_width: float | None = None
    """Relative half-width of the median's interval to reach, if any."""

    def is_enough(self, seconds: Sequence[float]) -> bool:
        """Return whether to stop after these passes; exceeds `max_s` by at most one pass."""
        total = math.fsum(seconds)
        if total >= self.max_s or len(seconds) >= self.max_passes:
            return True
        if total < self.min_s or len(seconds) < self.min_passes:
            return False
        if self.half_width is None:
            return True
        reached = relative_half_width(seconds)
        return reached is not None and reached < self.half_width


# The record stores the time of every pass, so their number is limited.
ON_LATENCY = Effort(min_s=2.0, min_passes=10, max_s=8.0, max_passes=1000, half_width=0.03)
# Decoding takes a constant time on top of the latency, so a half of the effort is enough.
ON_ENCODED = Effort(min_s=1.0, min_passes=10, max_s=4.0, max_passes=1000, half_width=0.05)
ON_THROUGHPUT = Effort(min_s=0.5, min_passes=2, max_s=3.0, max_passes=1000)
ON_WARM_UP = Effort(min_s=0.0, min_passes=10, max_s=3.0, max_passes=100)
# Warm-up ends once the median of a window is less than SETTLED_GAIN faster than the previous one.
WARM_UP_WINDOW = 5
SETTLED_GAIN = 0.05

BATCH_SIZES = (1, 4, 16, 64)
# Minimum gain in throughput for which a larger batch is worth its memory and latency.
WORTHWHILE_GAIN = 1.05
MAX_PASS_S = 2.0


def no_queue() -> None:
    """Wait for nothing: `work` has ended when it returns, as on a CPU."""


def time_work(work: Work, wait: Callable[[], None] = no_queue) -> float:
    """Return the seconds that `work` takes; `wait` returns once the device's queue is empty."""
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def time_repeatedly(work: Work, effort: Effort, wait: Callable[[], None] = no_queue) -> list[float]:
    """Return the seconds of each pass; runs at least one."""
    seconds = [time_work(work, wait)]
    while not effort.is_enough(seconds):
        seconds.append(time_work(work, wait))
    return seconds


def warm_up_work(work: Work, wait: Callable[[], None] = no_queue) -> None:
    """Repeat `work` until it gets no faster, within the limits of ON_WARM_UP."""
    window = WARM_UP_WINDOW
    seconds = [time_work(work, wait)]
    while math.fsum(seconds) < ON_WARM_UP.max_s and len(seconds) < ON_WARM_UP.max_passes:
        if len(seconds) >= 2 * window:
            before = statistics.median(seconds[-2 * window : -window])
            if statistics.median(seconds[-window:]) >= (1 - SETTLED_GAIN) * before:
                return
        seconds.append(time_work(work, wait))


def rates_by_batch(single: float, measure: Callable[[int], list[float]]) -> dict[int, float]:
    """Return images per second by batch size, until a larger batch gains too little.

    `single` is the rate of batch size 1. `measure` returns the seconds of each pass of a batch, or
    an empty list if it is too large.
    """
    rates, latest = {1: single}, 1
    for batch in BATCH_SIZES[1:]:
        if batch / rates[latest] > MAX_PASS_S or not (seconds := measure(batch)):
            break
        rates[batch] = batch / statistics.fmean(seconds)
        if rates[batch] < WORTHWHILE_GAIN * rates[latest]:
            break
        latest = batch
    return rates


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
