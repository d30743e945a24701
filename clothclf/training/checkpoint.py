"""Checkpoints of a training, written after an epoch or when it is stopped, to resume from.

`checkpoint.json` is written last and names the tensor file with its checksum. There is always a
complete checkpoint, and a damaged one is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clothclf.data.atomic import file_sha256, json_sha256, new_file, write_text
from clothclf.results import EpochResult

FORMAT = 2
INDEX = "checkpoint.json"
ASSUMED_BYTES_PER_S = 500e6
"""Assumed speed of writing and hashing, before the first checkpoint."""
MIN_INTERVAL_FACTOR = 50
"""Minimum interval between checkpoints, as a multiple of their writing time: 2 % overhead."""


@dataclass
class Snapshot:
    """State of a training after a number of steps."""

    epoch: int = 1
    """Current epoch, from 1."""
    steps: int = 0
    """Completed steps of the current epoch."""
    parts: int = 1
    """Gradient accumulation: number of parts that a batch is split into to fit in memory."""
    seconds: float = 0.0
    """Training time so far, over all processes that resumed it."""
    epoch_seconds: float = 0.0
    """Time spent on the steps of the current epoch."""
    history: list[EpochResult] = field(default_factory=list)
    """Results of completed epochs."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """`model.*`, `best.*` and `average.*` (parameters and buffers), `losses`, `sizes`, `correct`,
    `generator`."""
    optimizer: dict[str, Any] = field(default_factory=dict)
    """State as returned by `optimizer.optimizer_state`."""

    def of(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors with a prefix, without the prefix."""
        return {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }


class Checkpoints:
    """Write snapshots to a folder and read the last one; a folder of None disables it."""

    def __init__(self, folder: Path | None) -> None:
        """The folder must belong to a single run."""
        self._folder = folder
        self._seconds_per_byte = 1 / ASSUMED_BYTES_PER_S
        self._written = time.perf_counter()

    def is_due(self, byte_count: int) -> bool:
        """Return whether writing this many bytes is cheap relative to the time since the last."""
        elapsed = time.perf_counter() - self._written
        cost = byte_count * self._seconds_per_byte
        return self._folder is not None and elapsed >= MIN_INTERVAL_FACTOR * cost

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, then delete the previous one."""
        if self._folder is None:
            return
        started = time.perf_counter()
        name = f"checkpoint-{snapshot.epoch}-{snapshot.steps}.pt"
        path = self._folder / name
        with new_file(path) as unfinished:
            _write(snapshot, unfinished)
        # Without the tensors, which asdict would copy.
        values = asdict(replace(snapshot, tensors={}, optimizer={}))
        del values["tensors"], values["optimizer"]
        index = {"format": FORMAT, "file": name, "sha256": file_sha256(path), "snapshot": values}
        write_text(self._folder / INDEX, json.dumps({**index, "check": _check(index)}) + "\n")
        for old in self._folder.glob("checkpoint-*.pt"):
            if old.name != name:
                old.unlink(missing_ok=True)
        self._written = time.perf_counter()
        self._seconds_per_byte = (self._written - started) / max(1, path.stat().st_size)

    def load(self) -> Snapshot | None:
        """Return the last snapshot; None if there is none or it is damaged."""
        if self._folder is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            index = json.loads((self._folder / INDEX).read_text("utf-8"))
            check = index.pop("check")
            path = self._folder / Path(index["file"]).name
            recorded = (index["format"], check, index["sha256"])
            if recorded == (FORMAT, _check(index), file_sha256(path)):
                return _read(path, index["snapshot"])
        return None


def _write(snapshot: Snapshot, path: Path) -> None:
    """Write with torch.save, since safetensors first copies everything in memory."""
    try:
        torch.save({"tensors": snapshot.tensors, "optimizer": snapshot.optimizer}, path)
    except RuntimeError as error:
        # torch reports a full disk as a RuntimeError about the file position.
        size = sum(tensor.nbytes for tensor in snapshot.tensors.values())
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _read(path: Path, values: dict[str, Any]) -> Snapshot:
    content = torch.load(path, map_location="cpu", weights_only=True)
    history = [EpochResult(**epoch) for epoch in values.pop("history")]
    return Snapshot(**values, history=history, **content)


def _check(index: dict[str, Any]) -> str:
    return json_sha256(index)
