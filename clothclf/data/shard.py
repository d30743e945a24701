"""Which images of a batch are one process's, of several that train a network together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """A process's number among so many; alone, it has every image."""

    rank: int = 0
    processes: int = 1

    def is_sharded(self, count: int) -> bool:
        """Whether a batch of so many is cut; one with too few for each to have some is not."""
        return 1 < self.processes <= count

    def of(self, part: slice) -> slice:
        """Those of a batch that are this process's: equal shares, of the first ones one more.

        Of a batch that is not cut, each has all.
        """
        count = part.stop - part.start
        if not self.is_sharded(count):
            return part
        size, more = divmod(count, self.processes)
        start = part.start + self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))


ALL = Shard()
"""Of a process that trains alone."""
