"""A training on its way, kept on disk after an epoch or when it is stopped, to go on from there.

`checkpoint.json` comes last and says which file of tensors belongs to it, with its checksum: there
is never a moment without a whole checkpoint, and one that was damaged is not believed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clothclf.data.atomic import file_sha256, new_file, write_text
from clothclf.results import EpochResult

FORMAT = 2
INDEX = "checkpoint.json"
ASSUMED_BYTES_PER_S = 500e6
"""Of writing and hashing, before any was written."""
AFFORDABLE = 50
"""Times as long as writing it took must pass before the next one: two hundredths at most."""


@dataclass
class Snapshot:
    """Where a training stands: so many steps of an epoch are done."""

    epoch: int = 1
    """Being trained, counted from 1."""
    steps: int = 0
    """Steps of it that are done."""
    parts: int = 1
    """In how many a batch goes through, for want of memory."""
    seconds: float = 0.0
    """Spent on training so far, by all processes that had a share."""
    epoch_seconds: float = 0.0
    """Of those, on the steps of this epoch."""
    history: list[EpochResult] = field(default_factory=list)
    """Epochs that are done."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """`model.*`, `best.*` and `average.*` (parameters and buffers), `losses`, `sizes`, `correct`,
    `generator`."""
    optimizer: dict[str, Any] = field(default_factory=dict)
    """As `optimizer.optimizer_state` has it."""

    def of(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one kind, without its name."""
        return {
            name.removeprefix(f"{prefix}."): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}.")
        }


class Checkpoints:
    """Writes snapshots into a folder and reads the last one; a None folder keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        """The folder must belong to one run alone."""
        self._folder = folder
        self._seconds_per_byte = 1 / ASSUMED_BYTES_PER_S
        self._written = time.perf_counter()

    def is_due(self, byte_count: int) -> bool:
        """Whether one of so many bytes costs little beside the training since the last."""
        waited = time.perf_counter() - self._written
        cost = byte_count * self._seconds_per_byte
        return self._folder is not None and waited >= AFFORDABLE * cost

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot; the one before it goes when this one is whole."""
        if self._folder is None:
            return
        started = time.perf_counter()
        name = f"checkpoint-{snapshot.epoch}-{snapshot.steps}.pt"
        path = self._folder / name
        with new_file(path) as unfinished:
            _write(snapshot, unfinished)
        # Without the tensors, of which asdict would make copies.
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
        """The last snapshot; None where there is none, or it is not whole."""
        if self._folder is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            index = json.loads((self._folder / INDEX).read_text("utf-8"))
            check = index.pop("check")
            path = self._folder / Path(index["file"]).name
            told = (index["format"], check, index["sha256"])
            if told == (FORMAT, _check(index), file_sha256(path)):
                return _read(path, index["snapshot"])
        return None


def _write(snapshot: Snapshot, path: Path) -> None:
    """Not as safetensors, whose writer copies everything in memory first."""
    try:
        torch.save({"tensors": snapshot.tensors, "optimizer": snapshot.optimizer}, path)
    except RuntimeError as error:
        # torch tells of a full disk by where in the file it was.
        size = sum(tensor.nbytes for tensor in snapshot.tensors.values())
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _read(path: Path, values: dict[str, Any]) -> Snapshot:
    kept = torch.load(path, map_location="cpu", weights_only=True)
    history = [EpochResult(**epoch) for epoch in values.pop("history")]
    return Snapshot(**values, history=history, **kept)


def _check(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
