"""Layout of a tensor: which dimensions are positions in the image, tracked through reshapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Axis = Literal["height", "width", "channel", "tokens"]
"""Meaning of a dimension; `tokens` are positions in an unknown order, possibly with others."""

SPATIAL: tuple[Axis, Axis] = ("height", "width")


@dataclass(frozen=True)
class Run:
    """Part of a dimension that runs over a single axis."""

    axis: Axis
    length: int
    step: int = 0
    """Pixels between neighboring positions, for height and width."""
    origin: tuple[Run, ...] = ()
    """Positions that the tokens represent."""


Dim = tuple[Run, ...]
"""Runs of one dimension, outermost first; the product of their lengths is its length."""


def plain(length: int) -> Dim:
    """Create a dimension without positions."""
    return (Run("channel", length),) if length > 1 else ()


def length_of(dim: Dim) -> int:
    """Return the length of a dimension."""
    return math.prod(run.length for run in dim)


def spatial_runs(dim: Dim) -> Dim:
    """Return the runs over positions, including those that tokens represent."""
    return tuple(
        part
        for run in dim
        for part in (run.origin if run.axis == "tokens" else (run,))
        if part.axis in SPATIAL and part.length > 1
    )


def single(dim: Dim) -> Run | None:
    """Return the run if the dimension is exactly one run over height or width, else None."""
    return dim[0] if len(dim) == 1 and dim[0].axis in SPATIAL else None


def as_tokens(dim: Dim, length: int) -> Dim:
    """Change the length of a dimension: keep its runs if they fit, else make them tokens."""
    origin = spatial_runs(dim)
    if not origin:
        return plain(length)
    if length_of(origin) == length:
        return origin
    return (Run("tokens", length, origin=origin),)


def merge_neighbors(dim: Sequence[Run]) -> Dim:
    """Merge adjacent runs that are contiguous along one axis; drop those of length 1."""
    merged: list[Run] = []
    for run in dim:
        if run.length == 1 and run.axis != "tokens":
            continue
        if merged and _continues(merged[-1], run):
            merged[-1] = replace(run, length=merged[-1].length * run.length)
        else:
            merged.append(run)
    return tuple(merged)


def _continues(outer: Run, inner: Run) -> bool:
    if outer.axis != inner.axis or outer.axis == "tokens":
        return False
    return outer.axis == "channel" or outer.step == inner.step * inner.length


def regroup(dims: Sequence[Dim], shape: Sequence[int]) -> tuple[Dim, ...] | None:
    """Return the dimensions after a reshape to `shape`; None if a run would be split unevenly."""
    rest = [run for dim in dims for run in dim if run.length > 1]
    result: list[Dim] = []
    for length in shape:
        taken: list[Run] = []
        remaining = length
        while remaining > 1:
            if not rest:
                return None
            run = rest.pop(0)
            if remaining % run.length == 0:
                taken.append(run)
                remaining //= run.length
            elif run.length % remaining == 0 and run.axis != "tokens":
                inner = run.length // remaining
                taken.append(replace(run, length=remaining, step=run.step * inner))
                rest.insert(0, replace(run, length=inner))
                remaining = 1
            else:
                return None
        result.append(merge_neighbors(taken))
    return None if rest else tuple(result)
