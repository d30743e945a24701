"""Time two things in turn, give their ratio, and write each case's part of docs/performance.md.

A case is a function that returns rows; `tests/performance/__main__.py` lists them. It times the two
sides by `compare`, so that what disturbs the machine disturbs both, and says what is equal between
them. A part of the page belongs to each case: running one leaves the others' parts as they are.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


@dataclass(frozen=True)
class Ratio:
    """How many times as long the one takes as the other, over rounds of both."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


@dataclass(frozen=True)
class Row:
    """A line of a case's table: what was compared, on what, the outcome, and the target."""

    what: str
    outcome: str
    target: str


def compare(slow: Callable[[], float], fast: Callable[[], float], rounds: int) -> Ratio:
    """The ratio of seconds, `slow` to `fast`; each call returns its own seconds for equal work."""
    return ratio_of([(slow(), fast()) for _ in range(rounds)])


def ratio_of(seconds: Sequence[tuple[float, float]]) -> Ratio:
    """The ratio of each pair, their median and spread."""
    ratios = [slow / fast for slow, fast in seconds]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write_part(case: str, rows: Sequence[Row], page: Path = PAGE) -> None:
    """Replace a case's part of the page, which has marks for it."""
    begin, end = f"<!-- begin {case} -->", f"<!-- end {case} -->"
    text = page.read_text("utf-8")
    before, result, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not result or not closed:
        raise SystemExit(f"{page}: no part for {case}: it wants the lines {begin} and {end}")
    lines = ["| what | measured | target |", "| --- | --- | --- |"]
    lines += [f"| {row.what} | {row.outcome} | {row.target} |" for row in rows]
    part = "\n".join([_machine(), "", *lines])
    page.write_text(f"{before}{begin}\n{part}\n{end}{after}", "utf-8")


def _machine() -> str:
    import torch

    processor = platform.processor() or platform.machine()
    for line in _cpuinfo():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    today = datetime.datetime.now(datetime.timezone.utc).date()
    threads = torch.get_num_threads()
    cores = os.cpu_count()
    return f"*{processor}, {cores} cores, {threads} threads, torch {torch.__version__}, {today}*"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []
