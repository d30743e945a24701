"""Wrap a classifier as one module for export: uint8 images in, class probabilities out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from clothclf.models.classifier import Classifier


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
