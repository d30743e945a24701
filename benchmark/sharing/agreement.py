"""Whether two stored results of one run agree: figures have to, times and machines need not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from benchmark.runs.record import RunRecord

ROUNDING = 1e-9
"""Relative difference of figures that processors may sum in another order."""
CONDITIONS = frozenset(
    {"check", "spec", "environment", "started_at", "finished_at", "stage_seconds", "attempts",
     "peak_memory_bytes", "measured", "measured_error", "seconds", "reused_seconds",
     "images_per_second", "parts"}
)  # fmt: skip
"""Keys, at any depth, of what another machine or another day changes. The run_id stands for the
settings in `spec`."""
TABLES = "files"
"""Key of the hashes of tables, which are compared by content."""


def same(one: float, other: float) -> bool:
    """Whether two figures are the same but for rounding."""
    return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)


def other_figures(one: BaseModel, other: BaseModel, ignored: frozenset[str]) -> list[str]:
    """Return the dotted keys of values that differ by more than rounding, but for ignored keys."""
    return list(_other(one.model_dump(mode="json"), other.model_dump(mode="json"), ignored))


def _other(one: Any, other: Any, ignored: frozenset[str], key: str = "") -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other} - ignored):
            inner = f"{key}.{name}" if key else name
            if name in one and name in other:
                yield from _other(one[name], other[name], ignored, inner)
            else:
                yield inner
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from _other(*pair, ignored, f"{key}.{place}")
    elif isinstance(one, float) and isinstance(other, float):
        if not same(one, other):
            yield key
    elif one != other:
        yield key


def other_results(here: RunRecord, there: RunRecord) -> str:
    """Describe how the figures of two records of a run differ; empty if they agree."""
    apart = other_figures(here, there, CONDITIONS | {TABLES})
    if not apart:
        return ""
    ours, theirs = (f"{100 * record.test.accuracy:.2f} %" for record in (here, there))
    if ours != theirs:
        return f"test accuracy {ours} in the store, {theirs} in the pack"
    names = list(dict.fromkeys(key.partition(".")[0] for key in apart))
    return f"other values of {', '.join(names)}, such as {apart[0]}"


def other_times(here: RunRecord, there: RunRecord) -> str:
    """Describe how times, memory and machines of two records differ; empty if they do not."""
    pairs = [
        (f"training {_seconds(here)}", _seconds(there)),
        (f"latency {_latency(here)}", _latency(there)),
        (f"on {_machine(here)}", _machine(there)),
    ]
    shown = [
        f"{ours} in the store, {theirs} in the pack"
        for ours, theirs in pairs
        if not ours.endswith(f" {theirs}")
    ]
    if shown:
        return "; ".join(shown)
    apart = other_figures(here, there, frozenset({"check", "spec", TABLES}))
    return f"other values of {', '.join(dict.fromkeys(apart))}" if apart else ""


def _seconds(record: RunRecord) -> str:
    return f"{record.training.seconds:.1f} s"


def _latency(record: RunRecord) -> str:
    measured = record.measured
    return "not measured" if measured is None else f"{measured.latency_ms_median:.2f} ms"


def _machine(record: RunRecord) -> str:
    environment = record.environment
    device = environment.processor if environment.device == "cpu" else environment.device
    return f"{device} with {environment.threads} threads"
