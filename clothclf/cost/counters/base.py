"""Interface of a counter of MACs: what it gets, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from clothclf.errors import CostError
from clothclf.results import CounterResult

if TYPE_CHECKING:
    from clothclf.cost.count import CostRequest
    from clothclf.cost.counters.torch_counter import ForwardRecord
    from clothclf.cost.network import Network

Causes = dict[str, int]
"""Signed differences from the headline in multiply-adds, by cause."""


@dataclass(frozen=True)
class Counted:
    """Result of one counter, and what explains its difference from the headline."""

    result: CounterResult
    causes: Causes = field(default_factory=dict)
    multiply_adds: CounterResult | None = None
    """Multiply-adds only, in the headline's convention, to cross-check it; None if unknown."""


@dataclass(frozen=True)
class CountContext:
    """The network to count, and what is known of it."""

    request: CostRequest
    network: Network
    """Network and image on the meta device."""
    record: ForwardRecord
    """Forward pass as torch counted it, which gives the headline."""
    memory: int
    """Maximum bytes of real tensors."""
    earlier: Mapping[str, Counted]
    """Results of the counters that ran before, by name."""


class CounterModule(Protocol):
    """Module `counters/NAME_counter.py`, imported in the counting process only."""

    CONVENTION: str
    """What the counter counts, and with which factor, in words."""

    def count(self, context: CountContext) -> Counted:
        """Count one forward pass of one image. Exceptions are reported as the counter's error."""


def require_memory(needed: int, memory: int, doing: str) -> None:
    """Raise CostError if more bytes are needed than may be used; `doing` starts the message."""
    if needed > memory:
        raise CostError(
            f"{doing} takes {needed / 2**30:.1f} GiB of memory "
            f"({memory / 2**30:.1f} GiB may be used)"
        )
