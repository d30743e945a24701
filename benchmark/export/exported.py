"""Wrap a classifier as one module for export: uint8 images in, class probabilities out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmark.runs.record import RunRecord

if TYPE_CHECKING:
    from clothclf.models.classifier import Classifier

INPUT = "images"
OUTPUT = "probabilities"
CARD = "bench.json"
"""File name of the model's metadata as JSON, in every format."""


class Exported(nn.Module):
    """Normalization, classifier, temperature and softmax in float32.

    Takes resized RGB images, uint8 [n, size, size, 3], and returns probabilities, float32
    [n, classes].
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, classifier: Classifier) -> None:
        """Wrap `classifier`, and set its precision to float32."""
        super().__init__()
        classifier.precision = "float32"
        normalization = classifier.normalization
        self.classifier = classifier
        self.register_buffer("mean", torch.tensor(normalization.mean) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(normalization.std) * 255))

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities [n, classes]."""
        # Normalise each channel as in training, to get the same rounding.
        scaled = (images.float() - self.mean) * self.scale
        scores: Tensor = self.classifier(scaled.permute(0, 3, 1, 2))
        return (scores / self.classifier.temperature).softmax(1)


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
