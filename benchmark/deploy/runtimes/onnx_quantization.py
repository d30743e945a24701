"""Static int8 quantization of an ONNX file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmark.deploy.base import Images
from benchmark.export.model_card import CARD, INPUT, OUTPUT

BATCH_SIZE = 16
PREPROCESSING = frozenset({"Cast", "Sub", "Mul", "Div", "Transpose", "Reshape"})
"""Operators before the first layer, which stay in float32."""
POSTPROCESSING = frozenset({"Softmax", "Div", "Mul", "Cast"})
"""Operators after the last layer, which stay in float32."""


def quantize(source: Path, target: Path, images: Images, card: str) -> None:
    """Quantize weights by channel (int8) and activations by tensor (uint8), in QDQ format.

    `images` calibrate the ranges of the activations. Preprocessing and softmax stay in float32.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=outer_nodes(onnx.load(prepared).graph),
        )
        model = onnx.load(quantized)
    onnx.helper.set_model_props(model, {CARD: card})
    onnx.save(model, target)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Passes images to the quantizer in batches."""

    def __init__(self, images: Images) -> None:
        self._batches = _batches(images)

    def get_next(self) -> dict[str, Images] | None:
        """Return the next batch of inputs by name; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _batches(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), BATCH_SIZE):
        yield images[start : start + BATCH_SIZE]


def outer_nodes(graph: Any) -> list[str]:
    """Names of the nodes that normalize the input or turn scores into probabilities."""
    names = []
    tensor = INPUT
    while True:
        users = [n for n in graph.node if tensor in n.input and n.op_type != "Shape"]
        if len(users) != 1 or users[0].op_type not in PREPROCESSING:
            break
        names.append(users[0].name)
        tensor = users[0].output[0]
    tensor = OUTPUT
    while True:
        makers = [node for node in graph.node if tensor in node.output]
        if not makers or makers[0].op_type not in POSTPROCESSING:
            break
        names.append(makers[0].name)
        tensor = makers[0].input[0]
    return names
