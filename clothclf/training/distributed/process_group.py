"""Process group of a distributed training: rendezvous and collective operations."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from clothclf.data.shard import Shard
from clothclf.errors import DeviceError

_Value = TypeVar("_Value")

CPU = torch.device("cpu")

TIMEOUT = datetime.timedelta(days=7)
"""Timeout of collectives, long since another process may count or validate; a dead process is
noticed immediately."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process's view of the group, which by default has a single process.

    Its collectives run on the CPU, so that no step waits for a GPU.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    """Device of this process, if there are several."""

    @property
    def is_first(self) -> bool:
        """Whether this is the main process, which writes files and reports."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's shard of the images."""
        return Shard(self.rank, self.size)

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true in any process; all processes must call this."""
        return bool(self.sums(flag)[0])

    def sums(self, *values: float) -> list[float]:
        """Sum each value over the processes; all processes must call this."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def from_first(self, value: _Value) -> _Value:
        """Broadcast the first process's value; all processes must call this."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=CPU)
        return values[0]

    def seed(self, *numbers: int) -> None:
        """Seed the random generator from these numbers and the rank."""
        entropy = np.random.SeedSequence([*numbers, self.rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


SINGLE_PROCESS = ProcessGroup()


def init_process_group(folder: Path, device: str) -> ProcessGroup:
    """Initialize the process group of torchrun's processes; each uses one GPU or shares the CPU.

    The rendezvous is a file in `folder`, so that no network port is opened. Raises DeviceError if
    this process's device is not available.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    check_devices(device, size)
    own = CPU if _kind(device) == "cpu" else torch.device("cuda", rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group(
        "gloo" if own.type == "cpu" else "cpu:gloo,cuda:nccl",
        store=dist.FileStore(str(folder / "rendezvous"), size),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    return ProcessGroup(rank, size, own)


def check_devices(device: str, processes: int) -> None:
    """Raise DeviceError if there is no device for each of `processes` processes.

    `device` is `auto | cpu | cuda | cuda:N | mps`; processes share a CPU.
    """
    kind = _kind(device)
    if kind == "cpu":
        return
    if kind != "cuda":
        raise DeviceError(
            f"device: {kind} cannot be shared by a run's {processes} processes; use cuda or cpu"
        )
    if device.startswith("cuda:"):
        raise DeviceError(
            f"device: {device} is one GPU, and each of a run's {processes} processes needs its "
            "own; use cuda"
        )
    count = torch.cuda.device_count()
    if count < processes:
        raise DeviceError(
            f"device: each of a run's {processes} processes needs its own GPU, and torch "
            f"finds {count}; use fewer processes, or device: cpu"
        )


def gpu_count(device: str) -> int:
    """Return the number of CUDA devices available to a run on `device`."""
    return torch.cuda.device_count() if _kind(device) == "cuda" else 0


def _kind(device: str) -> str:
    if device != "auto":
        return device.partition(":")[0]
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
