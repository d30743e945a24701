"""Metadata of exported models for their users. Does not import torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.runs.record import RunRecord

INPUT = "images"
OUTPUT = "probabilities"
CARD = "bench.json"
"""File name of the model's metadata as JSON, in every format."""


def card(record: RunRecord) -> str:
    """Metadata for users of the exported model, as JSON."""
    spec = record.spec
    return json.dumps(
        {
            "run_id": record.run_id,
            "architecture": spec.architecture,
            "classes": list(spec.data_summary.classes),
            "image_size": spec.image_size,
            "input": f"{INPUT}: uint8 [n, {spec.image_size}, {spec.image_size}, 3], RGB",
            "resize": "to image_size x image_size, bilinear with antialiasing (Pillow's BILINEAR)",
            "temperature": record.training.temperature or 1.0,
            "output": f"{OUTPUT}: float32 [n, {len(spec.data_summary.classes)}]",
            f"{spec.evaluate}_accuracy": record.test.accuracy,
        },
        ensure_ascii=False,
    )
