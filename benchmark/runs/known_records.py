"""Records of ended runs, read from their folders when asked for: a study's driver keeps none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from benchmark.errors import StoreError
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import RunRecord


class Records(Sequence[RunRecord]):
    """In the order in which runs ended; ten thousand of them in memory would be some 0.5 GB."""

    def __init__(self) -> None:
        """None yet."""
        self._folders: list[RunFolder] = []

    def add(self, folder: RunFolder) -> None:
        """Of a run that has its record."""
        self._folders.append(folder)

    def __len__(self) -> int:
        """How many there are, without reading them."""
        return len(self._folders)

    @overload
    def __getitem__(self, place: int) -> RunRecord: ...

    @overload
    def __getitem__(self, place: slice) -> list[RunRecord]: ...

    def __getitem__(self, place: int | slice) -> RunRecord | list[RunRecord]:
        """Read one or some; raises StoreError where a record is gone meanwhile."""
        if isinstance(place, slice):
            return [_read(folder) for folder in self._folders[place]]
        return _read(self._folders[place])


def _read(folder: RunFolder) -> RunRecord:
    record = folder.record()
    if record is None:
        raise StoreError(f"{folder.path}: its record is gone or damaged; run the study again")
    return record
