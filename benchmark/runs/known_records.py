"""Records of finished runs, read from disk on access so that the driver holds none in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from benchmark.errors import StoreError
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder


class Records(Sequence[RunRecord]):
    """Lazy sequence of records in the order in which runs finished.

    Ten thousand records in memory would take about 0.5 GB.
    """

    def __init__(self) -> None:
        """Start with an empty sequence."""
        self._folders: list[RunFolder] = []

    def add(self, folder: RunFolder) -> None:
        """Append the record of the run in this folder."""
        self._folders.append(folder)

    def __len__(self) -> int:
        """Return the number of records without reading them."""
        return len(self._folders)

    @overload
    def __getitem__(self, index: int) -> RunRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[RunRecord]: ...

    def __getitem__(self, index: int | slice) -> RunRecord | list[RunRecord]:
        """Read one record or a slice; raises StoreError if a record is missing or damaged."""
        if isinstance(index, slice):
            return [_read(folder) for folder in self._folders[index]]
        return _read(self._folders[index])


def _read(folder: RunFolder) -> RunRecord:
    record = folder.record()
    if record is None:
        raise StoreError(f"{folder.path}: its record is missing or damaged; run the study again")
    return record
