"""Receptive-field rules of operators that reshape, slice and concatenate tensors."""

from __future__ import annotations

from typing import Any

from clothclf.cost.receptive_field.layout import (
    Run,
    as_tokens,
    length_of,
    plain,
    regroup,
    single,
    spatial_runs,
)
from clothclf.cost.receptive_field.propagation import (
    Rule,
    Scope,
    broadcast_dim,
    join_all,
    lost,
    shapes_in,
    views_in,
    with_dim,
)
from clothclf.cost.receptive_field.view import View


def _reshape(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    dims = regroup(view.dims, output)
    return lost(view, output) if dims is None else view.with_dims(dims)


def _permute(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view, order = args[0], args[1]
    return view.with_dims(view.dims[index] for index in order)


def _transpose(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    first, second = args[1:3] if len(args) > 2 else (0, 1)
    dims = list(view.dims)
    if len(dims) > 1:
        dims[first], dims[second] = dims[second], dims[first]
    return view.with_dims(dims)


def _expand(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    dims = list(view.dims)
    dims = [()] * (len(output) - len(dims)) + dims
    return view.with_dims(
        dim if length_of(dim) == length else plain(length)
        for dim, length in zip(dims, output, strict=True)
    )


def _unsqueeze(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view, index = args[0], args[1] % len(output)
    return view.with_dims([*view.dims[:index], (), *view.dims[index:]])


def _part(view: View, index: int, start: int, step: int, length: int) -> View:
    """Take `length` elements of one dimension, from `start` with a stride of `step`."""
    dim = view.dims[index]
    if length_of(dim) == length and step == 1:
        return view
    run = single(dim)
    if run is None:
        return view.with_dims(with_dim(view.dims, index, as_tokens(dim, length)))
    remaining = (Run(run.axis, length, run.step * step),) if length > 1 else ()
    view = view.moved(run.axis, start * run.step)
    return view.with_dims(with_dim(view.dims, index, remaining))


def _slice(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    index = (args[1] if len(args) > 1 else 0) % len(view.dims)
    start = args[2] if len(args) > 2 and args[2] is not None else 0
    step = args[4] if len(args) > 4 else 1
    given = length_of(view.dims[index])
    return _part(view, index, start + given if start < 0 else start, step, output[index])


def _select(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view, index, at = args[0], args[1] % len(args[0].dims), args[2]
    given = length_of(view.dims[index])
    view = _part(view, index, at % given, 1, 1)
    return view.with_dims(dim for i, dim in enumerate(view.dims) if i != index)


def _split(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    index = (args[2] if len(args) > 2 else 0) % len(view.dims)
    parts, start = [], 0
    for shape in shapes_in(output):
        parts.append(_part(view, index, start, 1, shape[index]))
        start += shape[index]
    return parts


def _unbind(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view = args[0]
    index = args[1] if len(args) > 1 else 0
    return [_select((view, index, at), {}, output, scope) for at in range(len(shapes_in(output)))]


def _cat(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    views = views_in(args[0])
    index = (args[1] if len(args) > 1 else 0) % len(output)
    lead = max(views, key=lambda view: (bool(spatial_runs(view.dims[index])), view.is_spatial()))
    joined = join_all([lead, *(view for view in views if view is not lead)])
    dims = [
        broadcast_dim([lead, *views], len(output) - i, length) for i, length in enumerate(output)
    ]
    dims[index] = as_tokens(lead.dims[index], output[index])
    return joined.with_dims(dims)


def _stack(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    views = views_in(args[0])
    index = (args[1] if len(args) > 1 else 0) % len(output)
    dims = list(join_all(views).dims)
    return join_all(views).with_dims([*dims[:index], plain(output[index]), *dims[index:]])


def _unknown(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    joined = join_all(views_in(args))
    return [lost(joined, shape) for shape in shapes_in(output)]


LAYOUT_RULES: dict[str, Rule] = {
    "view": _reshape,
    "_unsafe_view": _reshape,
    "reshape": _reshape,
    "squeeze": _reshape,
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "expand": _expand,
    "unsqueeze": _unsqueeze,
    "slice": _slice,
    "select": _select,
    "split": _split,
    "unsafe_split": _split,
    "split_with_sizes": _split,
    "unbind": _unbind,
    "cat": _cat,
    "stack": _stack,
    "repeat": _unknown,
    "index": _unknown,
    "gather": _unknown,
    "flip": _unknown,
    "cumsum": _unknown,
    "unfold": _unknown,
    "col2im": _unknown,
    "as_strided": _unknown,
    "topk": _unknown,
    "sort": _unknown,
}
