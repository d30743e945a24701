"""Answers of finished networks in place of part of the labels (distillation, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from clothclf.data.batches import Normalization
from clothclf.models.classifier import Classifier

PICTURES_AT_ONCE = 64
"""That a teacher answers for: far fewer than training's memory has room for."""


class Teacher:
    """One or several classifiers that see each training picture as the pupil does.

    They see it changed and mixed alike, so that their answer is of what the pupil looks at
    (arXiv:2106.05237), and each at its own size and normalisation.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Classifier, int]],
        share: float,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        """`networks` with the side of their pictures, in pixels; `share` is `train.teacher.share`.

        `normalization` is the pupil's, which its pictures come in.
        """
        self._networks = [(network.to(device).eval(), size) for network, size in networks]
        self._share = share
        self._normalization = normalization

    def targets(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """Of pictures [n, 3, size, size] and class numbers [n] or shares [n, classes], the shares.

        They are float32 [n, classes], and each picture's add up to 1.
        """
        answers = self._answers(pictures)
        if targets.ndim == 1:
            targets = functional.one_hot(targets, answers.shape[1]).to(answers.dtype)
        return torch.lerp(targets, answers, self._share)

    @torch.no_grad()
    def _answers(self, pictures: Tensor) -> Tensor:
        parts = torch.split(pictures, PICTURES_AT_ONCE)
        several = [
            torch.cat([self._answer(network, size, part) for part in parts])
            for network, size in self._networks
        ]
        return torch.stack(several).mean(0)

    def _answer(self, network: Classifier, size: int, pictures: Tensor) -> Tensor:
        """Class probabilities [n, classes] of the pupil's pictures."""
        if pictures.shape[-1] != size:
            pictures = functional.interpolate(
                pictures,
                size=(size, size),
                mode="bilinear",
                antialias=size < pictures.shape[-1],
            )
        if network.normalization != self._normalization:
            pictures = network.normalization.apply(self._normalization.undo(pictures))
        scores: Tensor = network(pictures)
        return scores.softmax(1)
