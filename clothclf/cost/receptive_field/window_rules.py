"""Receptive-field rules of convolutions, pooling, padding and upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clothclf.cost.receptive_field.layout import (
    Run,
    as_tokens,
    length_of,
    plain,
    single,
    spatial_runs,
)
from clothclf.cost.receptive_field.propagation import (
    Rule,
    Scope,
    join_all,
    lost,
    shapes_in,
    views_in,
    with_dim,
)
from clothclf.cost.receptive_field.sum_rules import contract, pool_away
from clothclf.cost.receptive_field.view import View


def slide(
    view: View, dim: int, kernel: int, stride: int, padding: int, dilation: int, length: int
) -> View:
    """Slide a window along one dimension."""
    if kernel == stride == 1 and padding == 0:
        return view
    run = single(view.dims[dim])
    if run is None:
        if spatial_runs(view.dims[dim]):
            return view.unknown(with_dim(view.dims, dim, plain(length)))
        return view.with_dims(with_dim(view.dims, dim, plain(length)))
    span = (kernel - 1) * dilation
    view = view.widened(run.axis, padding * run.step, (span - padding) * run.step)
    output = (Run(run.axis, length, run.step * stride),) if length > 1 else ()
    return view.with_dims(with_dim(view.dims, dim, output))


def _per_side(value: Sequence[int], sides: int) -> list[int]:
    return list(value) * sides if len(value) == 1 else list(value)


def _convolution(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view, weight, _, stride, padding, dilation, transposed = args[:7]
    if not isinstance(view, View):
        return lost(join_all(views_in(args)), output)
    kernel = (weight.shape if isinstance(weight, View) else weight)[2:]
    sides = len(kernel)
    if transposed:
        return lost(view, output)
    steps, pads, gaps = (_per_side(value, sides) for value in (stride, padding, dilation))
    for side in range(sides):
        index = len(view.dims) - sides + side
        view = slide(view, index, kernel[side], steps[side], pads[side], gaps[side], output[index])
    view = contract(view, 1, plain(output[1]), scope)
    return view.joined(weight) if isinstance(weight, View) else view


def _pool(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view, kernel = args[0], args[1]
    stride = args[2] if len(args) > 2 and args[2] else kernel
    padding = args[3] if len(args) > 3 else [0]
    shape = shapes_in(output)[0]
    sides = [_per_side(value, 2) for value in (kernel, stride, padding)]
    for side in range(2):
        index = len(view.dims) - 2 + side
        view = slide(view, index, sides[0][side], sides[1][side], sides[2][side], 1, shape[index])
    return view


def _adaptive_pool(
    args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope
) -> Any:
    view = args[0]
    shape = shapes_in(output)[0]
    for index in (-2, -1):
        given, length = length_of(view.dims[index]), shape[index]
        if length == 1:
            view = pool_away(view, [index], True, scope)
        elif given % length:
            return lost(view, shape)
        else:
            view = slide(view, index, given // length, given // length, 0, 1, length)
    return view


def _pad(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    view, pads = args[0], args[1]
    dims = list(view.dims)
    for side in range(len(pads) // 2):
        index = len(dims) - 1 - side
        if not (pads[2 * side] or pads[2 * side + 1]):
            continue
        run = single(dims[index])
        if run is None:
            dims[index] = as_tokens(dims[index], output[index])
            continue
        view = view.moved(run.axis, -pads[2 * side] * run.step)
        dims[index] = (replace(run, length=output[index]),)
    return view.with_dims(dims)


def _columns(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    """Apply im2col: [batch, channels, height, width] to [batch, channels x window, positions]."""
    view, kernel, dilation, padding, stride = args[:5]
    taken: list[Run] = []
    for side in range(2):
        index = len(view.dims) - 2 + side
        given = length_of(view.dims[index])
        span = (kernel[side] - 1) * dilation[side]
        length = (given + 2 * padding[side] - span - 1) // stride[side] + 1
        view = slide(view, index, kernel[side], stride[side], padding[side], dilation[side], length)
        taken += view.dims[index]
    return view.with_dims([view.dims[0], plain(output[1]), tuple(taken)])


def _upsample(args: tuple[Any, ...], options: dict[str, Any], output: Any, scope: Scope) -> Any:
    """Refine the positions; new ones do not all see the same, so the extent is inexact."""
    view = args[0]
    dims = list(view.dims)
    for index in (-2, -1):
        run, length = single(dims[index]), output[index]
        if run and length % run.length == 0 and run.step % (length // run.length) == 0:
            dims[index] = (replace(run, length=length, step=run.step * run.length // length),)
        elif run:
            return lost(view, output)
    return view.unknown(dims)


WINDOW_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pool,
    "avg_pool2d": _pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "constant_pad_nd": _pad,
    "reflection_pad2d": _pad,
    "replication_pad2d": _pad,
    "im2col": _columns,
    "upsample_nearest2d": _upsample,
    "upsample_bilinear2d": _upsample,
    "upsample_bicubic2d": _upsample,
}
