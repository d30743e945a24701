"""Module tree of an architecture with the cost of each module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clothclf.cost.count import CostRequest, count_in_child

if TYPE_CHECKING:  # importing torch takes seconds, and this side does not need it
    from torch import nn

    from clothclf.cost.counters.torch_counter import ForwardRecord


@dataclass(frozen=True)
class ModuleRow:
    """One module of the tree; all figures include its submodules."""

    name: str
    """Dotted name; empty for the whole network."""
    kind: str
    """Class name."""
    depth: int
    """Depth in the tree; 0 for the whole network."""
    params: int
    macs: int
    """MACs of all calls for one image; 0 if it is never called or costs nothing."""
    output_shape: tuple[int, ...] | None
    """Output shape, with a batch of 1; None if it returns no tensor or is never called."""
    share: float
    """Fraction of the network's MACs, 0 to 1."""


def module_tree(request: CostRequest, timeout_s: float = 600) -> list[ModuleRow]:
    """Return the module tree in definition order, parents before children.

    Runs in a child process and raises CostError, like `count_cost`.
    """
    return [
        ModuleRow(**{**row, "output_shape": row["output_shape"] and tuple(row["output_shape"])})
        for row in count_in_child("modules", request, timeout_s)
    ]


def rows_of(model: nn.Module, record: ForwardRecord) -> list[dict[str, Any]]:
    """Return the rows as JSON-serializable values, in the child process."""
    return [asdict(row) for row in _rows(model, record)]


def _rows(model: nn.Module, record: ForwardRecord) -> Iterator[ModuleRow]:
    total = record.result.macs or 1
    for name, module in model.named_modules():
        macs = record.inclusive.get(name, 0)
        yield ModuleRow(
            name=name,
            kind=type(module).__name__,
            depth=name.count(".") + 1 if name else 0,
            params=sum(parameter.numel() for parameter in module.parameters()),
            macs=macs,
            output_shape=record.shapes.get(name),
            share=macs / total,
        )
