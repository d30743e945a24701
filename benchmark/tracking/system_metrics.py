"""Sample system metrics of the machine and of a run, under the names that MLflow uses.

MLflow's own monitor is a thread with its own client, which hangs if the store is unreachable.
Samples are first written to a file beside the run folders, and can be logged later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from benchmark.runs.run_folder import RunFolder
from clothclf.settings import Settings

FOLDER = ".system"
"""Folder for the samples, beside the run folders."""
FIRST_EVERY_S = 10.0
LONGER_AFTER = 100
"""Number of samples after which the interval grows: about 500 samples a day, not 8,640."""


class Sample(Settings):
    """One sample of system metrics."""

    at_ms: int
    """Time of the sample as Unix time in milliseconds."""
    metrics: dict[str, float]


def samples_of(folder: RunFolder) -> list[Sample]:
    """Return the samples of a run, oldest first, without lines that a crash truncated."""
    samples = []
    with contextlib.suppress(OSError):
        for line in _file(folder).read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValidationError):
                samples.append(Sample.model_validate_json(line))
    return sorted(samples, key=lambda sample: sample.at_ms)


def forget_samples(folder: RunFolder) -> None:
    """Delete the samples of an earlier attempt of a run that starts over."""
    with contextlib.suppress(OSError):
        _file(folder).unlink(missing_ok=True)


def _file(folder: RunFolder) -> Path:
    return folder.path.parent / FOLDER / f"{folder.path.name}.jsonl"


class SystemWatch:
    """Samples system metrics for one run, first every ten seconds, then less and less often."""

    def __init__(self, folder: RunFolder) -> None:
        """Start the clock; the first sample is due after ten seconds."""
        self._folder = folder
        self._started = self._last = time.monotonic()
        self._cpu_s = 0.0
        psutil.cpu_percent()  # the next call measures the time since this one

    def is_due(self) -> bool:
        """Return whether a sample is due."""
        now = time.monotonic()
        pause = max(FIRST_EVERY_S, (self._last - self._started) / LONGER_AFTER)
        return now - self._last >= pause

    def sample(self) -> bool:
        """Take a sample and append it to the file; return whether there is a new sample.

        There is none while the run has no process because it waits for its measurement. The sample
        is lost if the disk is full.
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
        """Return resident memory of the run's processes, and busy cores since the last sample."""
        memory = cpu_s = 0.0
        for process in _processes(str(self._folder.path)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                cpu_s += times.user + times.system
                memory += process.memory_info().rss
        # The CPU time of a helper process is lost when it ends; a negative result is left out.
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
    """Iterate over the process of a run, identified by its folder, and its descendants."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if folder in child.cmdline():
                    yield child
                    yield from child.children(recursive=True)


def _gpus() -> dict[str, float]:
    """Return metrics of NVIDIA GPUs; empty without the package nvidia-ml-py or without a GPU."""
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
    except pynvml.NVMLError:  # no driver, or a metric that this GPU does not report
        return metrics
    return metrics
