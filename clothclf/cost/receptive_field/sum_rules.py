"""Receptive-field rules of reductions, matrix products and attention, which mix positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clothclf.cost.receptive_field.layout import (
    SPATIAL,
    Dim,
    as_tokens,
    length_of,
    plain,
    spatial_runs,
)
from clothclf.cost.receptive_field.propagation import (
    Rule,
    Scope,
    join_all,
    local_axes,
    lost,
    mixed_by,
    shapes_in,
    with_dim,
)
from clothclf.cost.receptive_field.view import View


def pool_away(view: View, dims: Sequence[int], keep: bool, scope: Scope) -> View:
    """Reduce whole dimensions."""
    pooled = {index % len(view.dims) for index in dims}
    remaining = [dim for index, dim in enumerate(view.dims) if index not in pooled]
    mixed = tuple(run for index in sorted(pooled) for run in view.dims[index])
    view = sum_up(view, mixed, remaining, scope)
    if keep:
        return view.with_dims(() if i in pooled else dim for i, dim in enumerate(view.dims))
    return view.with_dims(remaining)


def sum_up(view: View, mixed: Dim, remaining: Sequence[Dim], scope: Scope) -> View:
    """Make each position depend on all of `mixed`; parts of an axis widen the extent."""
    where, around = scope
    local = local_axes(mixed, remaining)
    near = tuple(run for run in spatial_runs(mixed) if run.axis in local)
    far = tuple(run for run in spatial_runs(mixed) if run.axis not in local)
    return mixed_by(folded(view, near), far, remaining, _pooling(around), where)


def folded(view: View, near: Dim) -> View:
    """Widen the extent like a window over `near` with a stride of its length."""
    for run in near:
        view = view.widened(run.axis, 0, (run.length - 1) * run.step)
    return view


def _pooling(around: Sequence[str]) -> str:
    if any("Squeeze" in kind or kind.startswith("SE") or "SEModule" in kind for kind in around):
        return "squeeze-excitation"
    if any("attention" in kind.lower() or "Attn" in kind for kind in around):
        return "attention"
    return "global pooling"


def _mean(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    dims = args[1] if len(args) > 1 and args[1] is not None else range(len(view.dims))
    dims = [dims] if isinstance(dims, int) else list(dims) or list(range(len(view.dims)))
    shape = shapes_in(output)[0]
    return pool_away(view, dims, len(shape) == len(view.dims), scope)


def _norm(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    """Apply the rule of reductions to linalg_vector_norm(x, order, dims, keepdim)."""
    return _mean((args[0], *args[2:]), options, output, scope)


def contract(view: View, index: int, output: Dim, scope: Scope) -> View:
    """Multiply by weights along one dimension, which becomes `output`."""
    dim = view.dims[index]
    remaining = [other for i, other in enumerate(view.dims) if i != index]
    positions = spatial_runs(dim)
    if not positions:
        return view.with_dims(with_dim(view.dims, index, output))
    if any(run.axis == "channel" for run in dim):
        # Neighbors were folded into the channels (space to depth): a strided convolution.
        return folded(view, positions).with_dims(with_dim(view.dims, index, output))
    view = mixed_by(view, dim, remaining, "token mixing", scope[0])
    return view.with_dims(with_dim(view.dims, index, as_tokens(dim, length_of(output))))


def _matrix_product(
    args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope
) -> Any:
    left, right = args[-2:]
    if isinstance(left, View) and isinstance(right, View):
        return _attention(left, right, scope)
    if isinstance(left, View):
        return contract(left, len(left.dims) - 1, plain(output[-1]), scope)
    return contract(right, len(right.dims) - 2, plain(output[-2]), scope)


def _attention(left: View, right: View, scope: Scope) -> View:
    """Multiply two tensors that both depend on the image: [.., n, k] by [.., k, m]."""
    rows, columns = left.dims[-2], right.dims[-1]
    dims = [*left.dims[:-2], rows, columns]
    what = "attention"
    if spatial_runs(left.dims[-1]):
        left = mixed_by(left, left.dims[-1], left.dims[:-1], what, scope[0])
    if spatial_runs(right.dims[-2]):
        remaining = [*right.dims[:-2], right.dims[-1]]
        right = mixed_by(right, right.dims[-2], remaining, what, scope[0])
    everything = {**right.everything, **left.everything}
    # The result has the positions of the queries; keys and values only add to what they see.
    leads = left if spatial_runs(rows) or not spatial_runs(columns) else right
    return replace(
        leads,
        dims=tuple(dims),
        everything=everything,
        windowed=_windowed(left, right, everything),
        inexact=left.inexact or right.inexact,
    )


def _windowed(left: View, right: View, everything: dict[Any, str]) -> bool:
    return (left.windowed or right.windowed) and any(axis not in everything for axis in SPATIAL)


def _fused_attention(
    args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope
) -> Any:
    query, key, value = args[:3]
    views = [view for view in (query, key, value) if isinstance(view, View)]
    if len(views) < 3:
        return lost(join_all(views), shapes_in(output)[0])
    scores = _attention(query, key.with_dims([*key.dims[:-2], key.dims[-1], key.dims[-2]]), scope)
    out = _attention(scores, value, scope)
    return [out, *[None] * (len(shapes_in(output)) - 1)]


SUM_RULES: dict[str, Rule] = {
    "mean": _mean,
    "sum": _mean,
    "amax": _mean,
    "linalg_vector_norm": _norm,
    "mm": _matrix_product,
    "addmm": _matrix_product,
    "bmm": _matrix_product,
    "baddbmm": _matrix_product,
    "_scaled_dot_product_flash_attention_for_cpu": _fused_attention,
}
