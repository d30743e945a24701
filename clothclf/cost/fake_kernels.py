"""Replace torch's matrix products by kernels that only return a tensor of the right shape.

fvcore counts in a trace that does not run on meta tensors. It needs only the shapes, but 90 % of
the time would be spent in matrix products.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor


@functools.cache
def skip_products() -> torch.library.Library:
    """Replace the CPU's matrix products for the rest of this process, which must be disposable."""
    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a kernel is overridden
        for operator, kernel in _KERNELS.items():
            library.impl(operator, kernel, "CPU")  # type: ignore[no-untyped-call]
    return library


# During a trace, sizes are tensors that the tracer records; int() detaches them.
def _sides(tensor: Tensor) -> list[int]:
    return [int(side) for side in tensor.shape]


def _product(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty([*_sides(left)[:-1], _sides(right)[-1]])


def _added_product(_: Tensor, left: Tensor, right: Tensor, **scales: Any) -> Tensor:
    return _product(left, right)


def _attention(query: Tensor, _: Tensor, value: Tensor, *options: Any, **more: Any) -> Any:
    """Return output [batch, heads, tokens, width] with the real kernel's strides, and logsumexp."""
    batch, heads, tokens, _width = _sides(query)
    output = query.new_empty([batch, tokens, heads, _sides(value)[-1]]).transpose(1, 2)
    return output, query.new_empty([batch, heads, tokens])


_KERNELS = {
    "mm": _product,
    "bmm": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
}
