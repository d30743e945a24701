"""The processes that train one network together: how they meet, and what they agree on."""

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
"""For another process, which may be counting or validating; one that dies is noticed at once."""


@dataclass(frozen=True)
class ProcessGroup:
    """One of the processes; most often it is the only one, and agrees with itself.

    What they say to each other goes over the CPU, so that no step waits for a GPU.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    """Its own, where there are several."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, validates last and tells."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's part of the images."""
        return Shard(self.rank, self.size)

    def any(self, flag: bool) -> bool:
        """Whether it is so for one of the processes; all of them must ask."""
        return bool(self.sums(flag)[0])

    def sums(self, *values: float) -> list[float]:
        """Each value added up over the processes; all of them must ask."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def from_first(self, value: _Value) -> _Value:
        """What the first process has; all of them must ask."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0, device=CPU)
        return said[0]

    def seed(self, *numbers: int) -> None:
        """Let dropout draw from these numbers, in each process otherwise."""
        entropy = np.random.SeedSequence([*numbers, self.rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


SINGLE_PROCESS = ProcessGroup()


def join(folder: Path, device: str) -> ProcessGroup:
    """Meet the processes that torchrun started beside this one; each has a GPU, or part of the CPU.

    They find each other by a file in `folder`, so that no port is opened to other machines.
    Raises DeviceError where this process's device is not there.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    check_devices(device, size)
    own = CPU if _kind(device) == "cpu" else torch.device("cuda", rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group(
        "gloo" if own.type == "cpu" else "cpu:gloo,cuda:nccl",
        store=dist.FileStore(str(folder / "meeting"), size),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    return ProcessGroup(rank, size, own)


def leave() -> None:
    """Part from the others, when all of them are done."""
    dist.destroy_process_group()


def check_devices(device: str, processes: int) -> None:
    """Raise DeviceError where so many processes cannot have a device each.

    `device` is `auto | cpu | cuda | cuda:N | mps`; the processes share a CPU.
    """
    kind = _kind(device)
    if kind == "cpu":
        return
    if kind != "cuda":
        raise DeviceError(
            f"device: {kind} cannot be shared by a run's {processes} processes; say cuda or cpu"
        )
    if device.startswith("cuda:"):
        raise DeviceError(
            f"device: {device} is one GPU, and each of a run's {processes} processes needs its "
            "own; say cuda"
        )
    count = torch.cuda.device_count()
    if count < processes:
        raise DeviceError(
            f"device: each of a run's {processes} processes needs a GPU of its own, and torch "
            f"finds {count}; ask for fewer, or say device: cpu"
        )


def gpu_count(device: str) -> int:
    """NVIDIA's GPUs that a run on `device` could have."""
    return torch.cuda.device_count() if _kind(device) == "cuda" else 0


def _kind(device: str) -> str:
    if device != "auto":
        return device.partition(":")[0]
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
