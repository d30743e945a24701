"""Knowledge distillation: predictions of finished networks as soft labels (arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from clothclf.data.batches import Normalization
from clothclf.models.classifier import Classifier

IMAGES_AT_ONCE = 64
"""Batch size of a teacher's predictions, small compared with the memory of training."""


class Teacher:
    """One or several classifiers whose predictions are used as soft labels.

    Teachers see the same augmented and mixed images as the student (arXiv:2106.05237), each at its
    own size and normalization.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Classifier, int]],
        share: float,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        """`networks` have their image size in pixels; `share` is `train.teacher.share`.

        `normalization` is that of the student's images.
        """
        self._networks = [(network.to(device).eval(), size) for network, size in networks]
        self._share = share
        self._normalization = normalization

    def targets(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return soft labels float32 [n, classes], which sum to 1 for each image.

        `images` are [n, 3, size, size], `targets` class numbers [n] or soft labels [n, classes].
        """
        predictions = self._predict(images)
        if targets.ndim == 1:
            targets = functional.one_hot(targets, predictions.shape[1]).to(predictions.dtype)
        return torch.lerp(targets, predictions, self._share)

    @torch.no_grad()
    def _predict(self, images: Tensor) -> Tensor:
        parts = torch.split(images, IMAGES_AT_ONCE)
        probabilities = [
            torch.cat([self._predict_one(network, size, part) for part in parts])
            for network, size in self._networks
        ]
        return torch.stack(probabilities).mean(0)

    def _predict_one(self, network: Classifier, size: int, images: Tensor) -> Tensor:
        """Return one network's class probabilities [n, classes] of the student's images."""
        if images.shape[-1] != size:
            images = functional.interpolate(
                images,
                size=(size, size),
                mode="bilinear",
                antialias=size < images.shape[-1],
            )
        if network.normalization != self._normalization:
            images = network.normalization.apply(self._normalization.undo(images))
        scores: Tensor = network(images)
        return scores.softmax(1)
