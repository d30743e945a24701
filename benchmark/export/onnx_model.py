"""Convert a network to ONNX. Needs the packages of the extra `export`."""

from __future__ import annotations

import re
from typing import Any

import onnx
import torch

from benchmark.errors import ExportError
from benchmark.export.card import CARD, INPUT, OUTPUT
from benchmark.export.exported import Exported
from clothclf.errors import first_line

STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Key of metadata of nodes."""
_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|quantized)(?:\.|::)\w+")
"""Pattern of an operator's name in messages of torch's exporter."""


def to_onnx(model: Exported, size: int, card_text: str) -> Any:
    """Convert a network for images of `size` pixels; the batch size is dynamic.

    Returns an onnx.ModelProto with the metadata `card_text`. Raises ExportError, which names the
    operator if one is not supported.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # 1 would be specialised
    try:
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    except Exception as error:  # torch's tracer raises many kinds
        raise ExportError(
            f"torch cannot export this architecture to ONNX: {_reason(error)}"
        ) from None
    if program is None:
        raise ExportError("torch returned no ONNX program")
    proto = program.model_proto
    _remove_stack_traces(proto)
    onnx.helper.set_model_props(proto, {CARD: card_text})
    onnx.checker.check_model(proto)
    return proto


def _remove_stack_traces(proto: Any) -> None:
    """Remove the lines of code that nodes come from: they have the paths of this machine."""
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in nodes:
            kept = [item for item in node.metadata_props if item.key != STACK_TRACE]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)


def _reason(error: BaseException) -> str:
    """First line of the error, or the operator that an error or its cause names."""
    cause: BaseException | None = error
    while cause is not None:
        if found := _OPERATOR.search(str(cause)):
            return f"operator {found.group()} is not supported"
        cause = cause.__cause__
    return first_line(error)
