"""Which dimensions of a tensor run over places of the image, kept through reshaping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Axis = Literal["height", "width", "channel", "tokens"]
"""`tokens` are places whose order no longer tells where they are, with others among them."""

SPATIAL: tuple[Axis, Axis] = ("height", "width")


@dataclass(frozen=True)
class Run:
    """A part of a dimension that runs over one thing."""

    axis: Axis
    length: int
    step: int = 0
    """Pixels from one place to the next, for height and width."""
    origin: tuple[Run, ...] = ()
    """Of tokens: the places that they stand for."""


Dim = tuple[Run, ...]
"""The runs of one dimension, outermost first; their lengths multiply to its length."""


def plain(length: int) -> Dim:
    """A dimension that runs over no places."""
    return (Run("channel", length),) if length > 1 else ()


def length_of(dim: Dim) -> int:
    """The dimension's length."""
    return math.prod(run.length for run in dim)


def places(dim: Dim) -> Dim:
    """The runs over places; what tokens stand for counts."""
    return tuple(
        place
        for run in dim
        for place in (run.origin if run.axis == "tokens" else (run,))
        if place.axis in SPATIAL and place.length > 1
    )


def single(dim: Dim) -> Run | None:
    """The one run over height or width that a dimension is, or None."""
    return dim[0] if len(dim) == 1 and dim[0].axis in SPATIAL else None


def as_tokens(dim: Dim, length: int) -> Dim:
    """The dimension with another length: its own runs where they fit, else tokens without order."""
    origin = places(dim)
    if not origin:
        return plain(length)
    if length_of(origin) == length:
        return origin
    return (Run("tokens", length, origin=origin),)


def merge_neighbours(dim: Sequence[Run]) -> Dim:
    """Join runs that together run over one axis without a jump; drop those of length 1."""
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
    """The dimensions after a reshape to `shape`; None where a run would be cut unevenly."""
    rest = [run for dim in dims for run in dim if run.length > 1]
    result: list[Dim] = []
    for length in shape:
        taken: list[Run] = []
        wanted = length
        while wanted > 1:
            if not rest:
                return None
            run = rest.pop(0)
            if wanted % run.length == 0:
                taken.append(run)
                wanted //= run.length
            elif run.length % wanted == 0 and run.axis != "tokens":
                inner = run.length // wanted
                taken.append(replace(run, length=wanted, step=run.step * inner))
                rest.insert(0, replace(run, length=inner))
                wanted = 1
            else:
                return None
        result.append(merge_neighbours(taken))
    return None if rest else tuple(result)
