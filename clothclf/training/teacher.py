"""Answers of finished networks in place of part of the labels (distillation, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from clothclf.data.batches import Normalization
from clothclf.models.classifier import Classifier

IMAGES_AT_ONCE = 64
"""That a teacher answers for: far fewer than training's memory has room for."""


class Teacher:
    """One or several classifiers that see each training image as the student does.

    They see it changed and mixed alike, so that their answer is of what the student looks at
    (arXiv:2106.05237), and each at its own size and normalisation.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Classifier, int]],
        share: float,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        """`networks` with the side of their images, in pixels; `share` is `train.teacher.share`.

        `normalization` is the student's, which its images come in.
        """
        self._networks = [(network.to(device).eval(), size) for network, size in networks]
        self._share = share
        self._normalization = normalization

    def targets(self, images: Tensor, targets: Tensor) -> Tensor:
        """Of images [n, 3, size, size] and class numbers [n] or shares [n, classes], the shares.

        They are float32 [n, classes], and each image's add up to 1.
        """
        answers = self._answers(images)
        if targets.ndim == 1:
            targets = functional.one_hot(targets, answers.shape[1]).to(answers.dtype)
        return torch.lerp(targets, answers, self._share)

    @torch.no_grad()
    def _answers(self, images: Tensor) -> Tensor:
        parts = torch.split(images, IMAGES_AT_ONCE)
        several = [
            torch.cat([self._answer(network, size, part) for part in parts])
            for network, size in self._networks
        ]
        return torch.stack(several).mean(0)

    def _answer(self, network: Classifier, size: int, images: Tensor) -> Tensor:
        """Class probabilities [n, classes] of the student's images."""
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
