"""The module tree of an architecture with what each part costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clothclf.cost.count import CostRequest, ask_child

if TYPE_CHECKING:  # torch takes seconds, and this side of the process does without
    from torch import nn

    from clothclf.cost.counters.torch_counter import ForwardRecord


@dataclass(frozen=True)
class ModuleRow:
    """One module of the tree; all figures hold it and what it contains."""

    name: str
    """Dotted; empty for the whole network."""
    kind: str
    """Its class."""
    depth: int
    """0 for the whole network."""
    params: int
    macs: int
    """Over all calls for one image; 0 for what is never called, or costs nothing."""
    output_shape: tuple[int, ...] | None
    """With the batch of 1 in front; None where it gives no tensor or is not called as a module."""
    share: float
    """Of the network's MACs, 0 to 1."""


def module_tree(request: CostRequest, timeout_s: float = 600) -> list[ModuleRow]:
    """Return the tree in the order of the network's definition, parents before children.

    Runs in a child process like `count_cost`, and raises CostError likewise.
    """
    return [
        ModuleRow(**{**row, "output_shape": row["output_shape"] and tuple(row["output_shape"])})
        for row in ask_child("modules", request, timeout_s)
    ]


def rows_of(model: nn.Module, record: ForwardRecord) -> list[dict[str, Any]]:
    """The child's side: rows as plain values."""
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
