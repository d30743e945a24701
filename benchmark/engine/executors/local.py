"""Execute runs on this machine, one process each; they share its cores, GPUs and memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from benchmark.engine.executors.base import Executor, Resources, RunAtWork, one_process_per_gpu
from benchmark.engine.executors.memory_needs import MemoryNeeds
from benchmark.engine.executors.registry import executors_with
from benchmark.engine.process import Limits, RunProcess
from benchmark.runs.events import FREE_WORKER
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.text.numbers import mebibytes
from clothclf.errors import DeviceError, SettingsError
from clothclf.memory import available_memory_bytes


def check_resources(resources: Resources, device: str) -> int:
    """Return the number of processes per run on this machine.

    Raises DeviceError if there are not enough devices, and SettingsError if the options are
    contradictory.
    """
    if resources.address or resources.cpus_per_run:
        others = executors_with(lambda entry: entry.address or entry.shares)
        raise SettingsError(f"--address and --cpus-per-run require {others}")
    gpus, processes = resources.gpus_per_run, resources.processes_per_run
    workers = resources.workers or 1
    if gpus is not None:
        if gpus != int(gpus):
            shares = executors_with(lambda entry: entry.shares)
            raise SettingsError(
                f"--gpus-per-run {gpus:g}: fractions of a GPU require {shares}; give a "
                "whole number, or several --workers"
            )
        processes = one_process_per_gpu(gpus, processes)
    if processes > 1 and workers > 1:
        raise SettingsError(
            f"--workers {workers} with {processes} processes per run: such runs execute one at a "
            "time; remove --workers"
        )
    if not gpus and processes == 1:
        if device not in ("auto", "cpu"):  # which are always available
            from clothclf.device import select_device

            select_device(device)
        return 1
    from clothclf.training.distributed.process_group import check_devices, gpu_count

    if gpus is not None and gpu_count(device) < processes:
        there = gpu_count(device)
        raise DeviceError(
            f"--gpus-per-run {processes}: GPUs found for device: {device}: {there}; request "
            "fewer, or use several CPU processes with --processes-per-run"
        )
    if processes > 1:
        check_devices(device, processes)
    return processes


@contextlib.contextmanager
def open_executor(
    resources: Resources, limits: Limits, device: str, notify: Callable[[str], None]
) -> Iterator[tuple[Executor, int]]:
    """Return a context with the executor of this machine and its number of concurrent runs."""
    workers = resources.workers or 1
    if workers == 1:
        yield LocalExecutor(limits), workers
        return
    own_bytes = limits.memory_bytes
    needs = MemoryNeeds(None if own_bytes is None else lambda spec: own_bytes)
    # A GPU that the user names is used for all runs.
    gpus = gpus_to_give() if device in ("auto", "cuda") and limits.processes == 1 else []
    yield LocalExecutor(limits, workers, needs, available_memory_bytes(), gpus), workers


class LocalExecutor:
    """Executes up to `workers` concurrent runs, as long as they fit in memory."""

    def __init__(
        self,
        limits: Limits,
        workers: int = 1,
        needs: MemoryNeeds | None = None,
        memory_bytes: int = 0,
        gpus: Sequence[str] = (),
    ) -> None:
        """Limit all runs together to `memory_bytes` by their `needs`; without `needs`, no limit.

        `gpus` are assigned to runs, one each, preferring the GPU with the fewest runs. Their names
        are as in CUDA_VISIBLE_DEVICES. If empty, a run sees all GPUs.
        """
        self.measures_at_once = workers == 1
        self._workers = workers
        self._exclusive = limits
        threads = max(1, (os.cpu_count() or 1) // workers)
        self._together = dataclasses.replace(limits, threads=threads) if workers > 1 else limits
        self._needs = needs
        self._memory_bytes = memory_bytes
        self._gpus = tuple(gpus)
        self._specs: dict[int, RunSpec] = {}
        self._on: dict[int, str] = {}

    def waits_for(self, spec: RunSpec, running: int) -> str:
        """Return whether a worker or memory is missing; without others, a run may always start."""
        if running >= self._workers:
            return FREE_WORKER
        if not running or self._needs is None:
            return ""
        needed = [self._needs.of(each) for each in (*self._specs.values(), spec)]
        known = [bytes_ for bytes_ in needed if bytes_ is not None]
        if len(known) < len(needed):
            return "an estimate of memory, from a probe"
        free = self._memory_bytes - sum(known[:-1])
        if known[-1] <= free:
            return ""
        return f"{mebibytes(known[-1])} of memory, {max(0, free) // 2**20:,} free"

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> RunProcess:
        """Start the run's process, with all cores if it is measured."""
        limits = self._exclusive if measure else self._together
        gpu = self._least_used(spec)
        if gpu is not None:
            limits = dataclasses.replace(limits, visible_gpus=gpu)
        run = RunProcess(spec, folder, limits, measure)
        self._specs[id(run)] = spec
        if gpu is not None:
            self._on[id(run)] = gpu
        return run

    def ended(self, run: RunAtWork) -> None:
        """Free the memory and GPU of a run."""
        self._specs.pop(id(run), None)
        self._on.pop(id(run), None)

    def _least_used(self, spec: RunSpec) -> str | None:
        if not self._gpus or spec.device not in ("auto", "cuda"):
            return None
        used = Counter(self._on.values())
        return min(self._gpus, key=lambda gpu: used[gpu])


def gpus_to_give() -> list[str]:
    """Return the available GPUs by their names in CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if visible:
        return [name.strip() for name in visible.split(",") if name.strip()][:count]
    return [str(number) for number in range(count)]
