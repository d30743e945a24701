"""Registry of the counters of MACs. Does not import them or torch.

To add a counter, write `counters/NAME_counter.py` as `base.CounterModule` describes, and add one
entry to `COUNTERS`. Records, reports, `bench cost`, MLflow and the cache key then have it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from clothclf.cost.counters.base import CounterModule


@dataclass(frozen=True)
class MacCounter:
    """One counter of MACs."""

    name: str
    """Key in records, in JSON and CSV (`macs_NAME`) and in MLflow (`counters/NAME_gmacs`)."""
    title: str
    package: str
    """Distribution whose version is part of the cache key."""
    last: bool = False
    """Whether it modifies the network or the process, so that no other counter can follow."""

    def load(self) -> CounterModule:
        """Import the counter's module, and with it torch."""
        module = importlib.import_module(f"clothclf.cost.counters.{self.name}_counter")
        return cast("CounterModule", module)


COUNTERS = {
    counter.name: counter
    for counter in (
        MacCounter("flopth", "flopth, unmodified", "flopth", last=True),
        MacCounter("fvcore", "fvcore, unmodified", "fvcore"),
        MacCounter("torch", "torch's FlopCounterMode, halved", "torch"),
    )
}
HEADLINE = "torch"
"""Counter that gives the headline. It runs first; its record is passed to the others."""
COMPARED = tuple(name for name in COUNTERS if name != HEADLINE)
"""Counters that are compared with the headline."""
PACKAGES = tuple(counter.package for counter in COUNTERS.values())
"""Distributions whose versions determine the figures."""
