"""Runs on this machine, a process each: cores divided, a GPU each, memory never promised twice."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence

from benchmark.engine.executors.base import RunAtWork
from benchmark.engine.executors.memory import MemoryNeeds
from benchmark.engine.process import Limits, RunProcess
from benchmark.runs.folder import RunFolder
from benchmark.runs.spec import RunSpec


class LocalExecutor:
    """Up to so many runs at a time, as far as memory goes."""

    def __init__(
        self,
        limits: Limits,
        workers: int = 1,
        needs: MemoryNeeds | None = None,
        memory_bytes: int = 0,
        gpus: Sequence[str] = (),
    ) -> None:
        """`memory_bytes` is what all runs may hold together, by `needs`; else none is counted.

        `gpus` names those that are given out, one to each run, as CUDA_VISIBLE_DEVICES does; where
        runs are more than GPUs, the one with the fewest runs is next. Without, a run sees them all.
        """
        self.measures_at_once = workers == 1
        self._workers = workers
        self._alone = limits
        threads = max(1, (os.cpu_count() or 1) // workers)
        self._together = dataclasses.replace(limits, threads=threads) if workers > 1 else limits
        self._needs = needs
        self._memory_bytes = memory_bytes
        self._gpus = tuple(gpus)
        self._specs: dict[int, RunSpec] = {}
        self._on: dict[int, str] = {}

    def has_room(self, spec: RunSpec, running: int) -> bool:
        """Whether there is a worker, and memory; a run that never fits has it when it is alone."""
        if running >= self._workers:
            return False
        if not running or self._needs is None:
            return True
        needed = [self._needs.of(each) for each in (*self._specs.values(), spec)]
        known = [found for found in needed if found is not None]
        return len(known) == len(needed) and sum(known) <= self._memory_bytes

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> RunProcess:
        """Start the run's process; it has all cores where it is to be measured."""
        limits = self._alone if measure else self._together
        gpu = self._least_used(spec)
        if gpu is not None:
            limits = dataclasses.replace(limits, visible_gpus=gpu)
        run = RunProcess(spec, folder, limits, measure)
        self._specs[id(run)] = spec
        if gpu is not None:
            self._on[id(run)] = gpu
        return run

    def ended(self, run: RunAtWork) -> None:
        """Its memory and GPU are free."""
        self._specs.pop(id(run), None)
        self._on.pop(id(run), None)

    def _least_used(self, spec: RunSpec) -> str | None:
        if not self._gpus or spec.device not in ("auto", "cuda"):
            return None
        used = Counter(self._on.values())
        return min(self._gpus, key=lambda gpu: used[gpu])


def gpus_to_give() -> list[str]:
    """GPUs that runs can be given, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if told:
        return [name.strip() for name in told.split(",") if name.strip()][:count]
    return [str(number) for number in range(count)]
