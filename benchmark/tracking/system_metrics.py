"""What machine and run take while a run goes on, under the names of MLflow's own system metrics.

MLflow's own monitor is a thread with a client of its own, which a dead store would hang. Samples
are written to a file beside the run folders first: a store that was away is given them later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from benchmark.runs.folder import RunFolder
from clothclf.settings import Settings

PLACE = ".system"
"""Folder beside the run folders."""
FIRST_EVERY_S = 10.0
LONGER_AFTER = 100
"""Samples, after which they grow rarer, so that a day's run has some 500 and not 8,640."""


class Sample(Settings):
    """One look at the machine."""

    at_ms: int
    """Unix time in milliseconds."""
    metrics: dict[str, float]


def samples_of(folder: RunFolder) -> list[Sample]:
    """All samples of a run, oldest first; a line cut short by a crash is passed over."""
    found = []
    with contextlib.suppress(OSError):
        for line in _file(folder).read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValidationError):
                found.append(Sample.model_validate_json(line))
    return sorted(found, key=lambda sample: sample.at_ms)


def forget_samples(folder: RunFolder) -> None:
    """Delete what an earlier attempt left, whose run begins anew."""
    with contextlib.suppress(OSError):
        _file(folder).unlink(missing_ok=True)


def _file(folder: RunFolder) -> Path:
    return folder.path.parent / PLACE / f"{folder.path.name}.jsonl"


class SystemWatch:
    """Looks at the machine for one run, every ten seconds at first, then ever more rarely."""

    def __init__(self, folder: RunFolder) -> None:
        """Begin; the first sample is due after ten seconds."""
        self._folder = folder
        self._began = self._last = time.monotonic()
        self._cpu_s = 0.0
        psutil.cpu_percent()  # the next call tells of the time since this one

    def is_due(self) -> bool:
        """Whether it is time for a sample."""
        now = time.monotonic()
        pause = max(FIRST_EVERY_S, (self._last - self._began) / LONGER_AFTER)
        return now - self._last >= pause

    def sample(self) -> bool:
        """Look, and write down what was seen; return whether there is something new.

        A run that has no process now, since it waits to be measured, has none; a full disk loses
        the sample.
        """
        now = time.monotonic()
        run = self._run(now - self._last)
        self._last = now
        if not run:
            return False
        metrics = {**_machine(), **run, **_gpus()}
        line = Sample(at_ms=int(time.time() * 1000), metrics=metrics).model_dump_json() + "\n"
        with contextlib.suppress(OSError):
            path = _file(self._folder)
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(line)
        return True

    def _run(self, seconds: float) -> dict[str, float]:
        """Of the run's own processes: resident memory, and cores kept busy since the last look."""
        memory = cpu_s = 0.0
        for process in _processes(str(self._folder.path)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                cpu_s += times.user + times.system
                memory += process.memory_info().rss
        # A helper process that has ended takes its time with it: there is no figure then.
        busy, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        metrics = {"system/run_memory_megabytes": round(memory / 1e6, 1)} if memory else {}
        if memory and busy >= 0 and seconds > 0:
            metrics["system/run_busy_cores"] = round(busy / seconds, 2)
        return metrics


def _machine() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system/system_memory_usage_percentage": round(100 * memory.used / memory.total, 1),
    }


def _processes(folder: str) -> Iterator[psutil.Process]:
    """The process of a run, which names its folder, and what it has started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if folder in child.cmdline():
                    yield child
                    yield from child.children(recursive=True)


def _gpus() -> dict[str, float]:
    """Of NVIDIA's GPUs, where the package nvidia-ml-py is installed and finds one."""
    try:
        import pynvml
    except ImportError:
        return {}
    metrics: dict[str, float] = {}
    try:
        pynvml.nvmlInit()
        for number in range(pynvml.nvmlDeviceGetCount()):
            device: Any = pynvml.nvmlDeviceGetHandleByIndex(number)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device)
            busy = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
            metrics |= {
                f"system/gpu_{number}_utilization_percentage": float(busy),
                f"system/gpu_{number}_memory_usage_megabytes": round(memory.used / 1e6, 1),
            }
    except pynvml.NVMLError:  # no driver, or a figure that this GPU does not give
        return metrics
    return metrics
