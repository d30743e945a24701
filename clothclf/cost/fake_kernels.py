"""Make torch skip matrix products, so that a trace of shapes costs no arithmetic.

fvcore counts in a trace that meta tensors cannot run. Only the shapes matter to it, and nine tenths
of the time would go into products: here they give memory as it comes, of the right shape.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor


@functools.cache
def skip_products() -> torch.library.Library:
    """Replace the CPU's matrix products for the rest of this process, which must be throw-away."""
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that a kernel is replaced: it is meant to be
        for operator, kernel in _KERNELS.items():
            library.impl(operator, kernel, "CPU")  # type: ignore[no-untyped-call]
    return library


# While a trace runs, sizes are tensors that the tracer follows: each is read as a plain number.
def _sides(tensor: Tensor) -> list[int]:
    return [int(side) for side in tensor.shape]


def _product(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty([*_sides(left)[:-1], _sides(right)[-1]])


def _added_product(_: Tensor, left: Tensor, right: Tensor, **scales: Any) -> Tensor:
    return _product(left, right)


def _attention(query: Tensor, _: Tensor, value: Tensor, *options: Any, **more: Any) -> Any:
    """Output [batch, heads, places, width], laid out as the real kernel does, and the logsumexp."""
    batch, heads, places, _width = _sides(query)
    output = query.new_empty([batch, places, heads, _sides(value)[-1]]).transpose(1, 2)
    return output, query.new_empty([batch, heads, places])


_KERNELS = {
    "mm": _product,
    "bmm": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
}
