"""Memory-mapped decoded images whose blocks are verified by checksum on first read."""

from __future__ import annotations

import contextlib
import json
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clothclf.data.atomic import write_text
from clothclf.errors import DataError

BLOCK_BYTES = 2**20
"""Approximate block size in bytes: small compared to what a random batch reads anyway."""
SPREAD_BLOCKS = 8
"""Number of evenly spaced blocks that `CheckedImages.look_at_some` verifies."""

Rebuild = Callable[[], Path]
"""Writes the file of decoded images again and returns its path, which may be a new one."""


class Images(Protocol):
    """Array-like of decoded images, in memory or on disk: uint8 [images, size, size, 3]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape: (images, size, size, 3)."""

    @property
    def nbytes(self) -> int:
        """Size of all images in bytes."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, rows: Any) -> Any:
        """Return the images at `rows`, with NumPy's indexing."""


class CheckedImages:
    """Memory-mapped array file with checksums in a file beside it.

    If the file is missing or a block is damaged, `rebuild` is called, once. Raises DataError
    without `rebuild`, or if the rebuilt file is damaged too.
    """

    def __init__(self, file: Path, rebuild: Rebuild | None = None) -> None:
        """Open `file`; reads only its header."""
        self.path = file
        self._rebuild = rebuild
        self._lock = threading.RLock()
        try:
            self._open()
        except DataError as error:
            self._open_anew(error)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape: (images, size, size, 3)."""
        return self._array.shape

    @property
    def nbytes(self) -> int:
        """Size of all images in bytes."""
        return self._array.nbytes

    def __len__(self) -> int:
        """Number of images."""
        return len(self._array)

    def __getitem__(self, rows: Any) -> Any:
        """Return the images uint8 at `rows`: an index, a slice or an array of indices."""
        if not self._all_seen:
            self._check(rows[0] if isinstance(rows, tuple) else rows)
        return self._array[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.uint8]:
        """Return all images, after verifying each block."""
        return np.array(self[:], dtype=dtype)

    def look_at_some(self) -> None:
        """Verify a few evenly spaced blocks, to detect gross damage early."""
        last = max(0, len(self) - 1)
        self._check(np.linspace(0, last, SPREAD_BLOCKS).astype(np.int64)[: len(self)])

    def _open(self) -> None:
        try:
            self._array: npt.NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
            described = json.loads(checksum_file(self.path).read_text("utf-8"))
            self._rows_per_block = int(described["rows_per_block"])
            self._checksums = [int(value) for value in described["crc32"]]
            if [self._array.dtype, *self._array.shape] != [np.uint8, *described["shape"]]:
                raise ValueError("its header is damaged")
            if len(self._checksums) != -(-len(self._array) // self._rows_per_block):
                raise ValueError("its checksums are of another file")
        except Exception as error:  # NumPy raises many types on a damaged header
            raise DataError(f"{self.path}: the decoded images cannot be opened: {error}") from None
        self._seen = np.zeros(len(self._checksums), dtype=np.bool_)
        self._all_seen = False

    def _check(self, rows: Any) -> None:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        blocks = np.atleast_1d(rows) % max(1, len(self)) // self._rows_per_block
        new = np.unique(blocks[~self._seen[blocks]])
        if not len(new):
            return
        with self._lock:
            for block in new.tolist():
                content = block_checksum(self._array, block, self._rows_per_block)
                if content != self._checksums[block]:
                    self._open_anew(DataError(f"{self.path}: the decoded images are damaged"))
                    self._check(rows)
                    return
                self._seen[block] = True
            self._all_seen = bool(self._seen.all())

    def _open_anew(self, why: DataError) -> None:
        """Rebuild and open the file, or raise `why` if that is not possible."""
        if self._rebuild is None:
            _forget(self.path)
            raise DataError(f"{why}; `bench data stats` decodes them again")
        rebuild, self._rebuild = self._rebuild, None
        _forget(self.path)
        self.path = rebuild()
        self._open()


def rows_per_block(array: npt.NDArray[np.uint8]) -> int:
    """Return the number of images per block of an array; the last block may have fewer."""
    return max(1, BLOCK_BYTES // max(1, array.nbytes // max(1, len(array))))


def write_checksums(
    file: Path, shape: tuple[int, ...], per_block: int, checksums: list[int]
) -> None:
    """Write the checksums of an array's blocks, in order, to a file beside the array."""
    described = {"shape": shape, "rows_per_block": per_block, "crc32": checksums}
    write_text(checksum_file(file), json.dumps(described))


def checksum_file(file: Path) -> Path:
    """Return the path of an array's checksum file."""
    return file.with_suffix(".json")


def _forget(file: Path) -> None:
    """Delete a damaged array, so that it is not opened again; open mappings stay valid."""
    for path in (file, checksum_file(file)):
        with contextlib.suppress(OSError):  # read-only: damage is detected again on the next read
            path.unlink(missing_ok=True)


def block_checksum(array: npt.NDArray[np.uint8], block: int, rows_per_block: int) -> int:
    """Compute the CRC-32 of a block of consecutive images."""
    rows = array[block * rows_per_block : (block + 1) * rows_per_block]
    return zlib.crc32(np.ascontiguousarray(rows).reshape(-1).data)
