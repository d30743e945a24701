"""Shared parts of the receptive-field rules: join views and mix positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch

from clothclf.cost.receptive_field.layout import SPATIAL, Dim, length_of, plain, spatial_runs
from clothclf.cost.receptive_field.view import View

Scope = tuple[str, tuple[str, ...]]
"""Current module, and the classes of all enclosing modules."""
Rule = Callable[[tuple[Any, ...], dict[str, Any], Any, Scope], Any]
"""Signature: arguments with views instead of tensors, options, output shapes, scope -> views."""


def mixed_by(view: View, mixed: Dim, others: Iterable[Dim], what: str, where: str) -> View:
    """Return `view` after mixing all positions of `mixed`; `others` are its other dimensions.

    Each position then sees all of an axis that `mixed` spans. If `mixed` spans only windows of an
    axis, the view is marked as windowed.
    """
    local = local_axes(mixed, others)
    for axis in dict.fromkeys(run.axis for run in spatial_runs(mixed)):
        if axis in local:
            view = replace(view, windowed=True)
        else:
            view = view.seeing_all(axis, f"{what} in {where}")
    return view


def local_axes(mixed: Dim, remaining: Iterable[Dim]) -> set[str]:
    """Return axes of which `mixed` spans only windows: other dimensions have coarser steps."""
    others = [run for dim in remaining for run in spatial_runs(dim)]
    return {
        run.axis
        for run in spatial_runs(mixed)
        for other in others
        if other.axis == run.axis and other.step > run.step
    }


def join_all(views: Sequence[View]) -> View:
    """Join views, in the layout of the first one."""
    return reduce(View.joined, views)


def views_in(value: Any) -> list[View]:
    """Return the views among arguments, including those in lists."""
    if isinstance(value, View):
        return [value]
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return [view for item in value for view in views_in(item)]
    return []


def shapes_in(output: Any) -> list[torch.Size]:
    """Return the output shapes, one per tensor."""
    if isinstance(output, torch.Size):
        return [output]
    return [shape for item in output for shape in shapes_in(item)] if output is not None else []


def lost(view: View, shape: Sequence[int]) -> View:
    """Return the view after an unsupported operator."""
    return view.unknown([plain(length) for length in shape])


def with_dim(dims: Sequence[Dim], index: int, dim: Dim) -> list[Dim]:
    """Replace the dimension at `index`."""
    changed = list(dims)
    changed[index] = dim
    return changed


def element_by_element(
    args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope
) -> Any:
    """Apply the rule of elementwise operators; unknown if the shapes do not broadcast."""
    shapes = shapes_in(output)
    views = views_in(args)
    shape = shapes[0]
    if not all(_fits(view.shape, shape) for view in views):
        return lost(join_all(views), shape)
    # The tensor with positions leads; others, such as gates, are broadcast over it.
    lead = max(views, key=lambda view: (view.is_spatial(), len(view.dims)))
    ordered = [lead, *(view for view in views if view is not lead)]
    dims = [broadcast_dim(ordered, index, length) for index, length in _from_right(shape)]
    return reduce(_broadcast, ordered).with_dims(reversed(dims))


def _broadcast(lead: View, other: View) -> View:
    """Join a tensor that may lack some of the leading one's positions, such as a gate.

    A value pooled from fixed positions has no constant offset from each position: it adds no
    extent, and counts as windowed unless it sees the whole axis.
    """
    for axis in SPATIAL:
        if _runs(other, axis) == _runs(lead, axis):
            continue
        if axis not in other.everything and axis not in lead.everything:
            other = replace(other, windowed=other.windowed or other.is_spatial())
        other = replace(other, extent={**other.extent, axis: lead.extent[axis]})
    return lead.joined(other)


def _runs(view: View, axis: str) -> list[tuple[int, int]]:
    runs = [run for dim in view.dims for run in spatial_runs(dim) if run.axis == axis]
    return sorted((run.step, run.length) for run in runs)


def _fits(given: Sequence[int], output: Sequence[int]) -> bool:
    """Return whether a shape broadcasts to another one."""
    pairs = zip(reversed(given), reversed(output), strict=False)
    return len(given) <= len(output) and all(one in (1, other) for one, other in pairs)


def _from_right(shape: Sequence[int]) -> list[tuple[int, int]]:
    return [(index, shape[-index]) for index in range(1, len(shape) + 1)]


def broadcast_dim(views: Sequence[View], index: int, length: int) -> Dim:
    """Return dimension `index` from the right, preferably of a view that has positions there."""
    candidates = [view.dims[-index] for view in views if len(view.dims) >= index]
    fitting = [dim for dim in candidates if length_of(dim) == length]
    spatial = [dim for dim in fitting if spatial_runs(dim)]
    return (spatial or fitting or [plain(length)])[0]
