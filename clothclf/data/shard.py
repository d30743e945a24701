"""Shard of a batch for one process in distributed training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Rank of a process and number of processes; a single process gets every image."""

    rank: int = 0
    processes: int = 1

    def is_sharded(self, count: int) -> bool:
        """Whether a batch of `count` images is sharded, which takes an image per process."""
        return 1 < self.processes <= count

    def of(self, part: slice) -> slice:
        """Return this process's slice of a batch: equal parts, the first ones with one more.

        If the batch is not sharded, every process gets all of it.
        """
        count = part.stop - part.start
        if not self.is_sharded(count):
            return part
        size, more = divmod(count, self.processes)
        start = part.start + self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))


ALL = Shard()
"""Shard of a process that trains alone."""
