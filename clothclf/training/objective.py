"""Training loss: cross-entropy with optional label smoothing and class weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from clothclf.settings import TrainSettings


@dataclass(frozen=True)
class Objective:
    """Loss of scores [n, classes] and targets: class numbers [n] or soft labels [n, classes]."""

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    """Class weights [classes]."""

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the images in nats.

        Weighted losses are divided by the number of images and not by the sum of weights, so that
        the losses of a batch's parts add up to the batch's.
        """
        if self.class_weights is None:
            return functional.cross_entropy(scores, targets, label_smoothing=self.label_smoothing)
        total = functional.cross_entropy(
            scores,
            targets,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        return total / len(targets)


def make_objective(
    settings: TrainSettings,
    targets: npt.NDArray[np.int64],
    classes: int,
    device: torch.device,
) -> Objective:
    """Create a recipe's loss; `targets` are the class numbers of the training images."""
    weights = None
    if settings.class_weights == "balanced":
        weights = torch.from_numpy(balanced_weights(targets, classes)).float().to(device)
    return Objective(settings.label_smoothing, weights)


def balanced_weights(targets: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """Return images / (classes x images of the class), like scikit-learn; 0 for empty classes."""
    counts = np.bincount(targets, minlength=classes)
    return np.where(counts > 0, len(targets) / (classes * np.maximum(counts, 1)), 0.0)


def num_correct(scores: Tensor, targets: Tensor) -> Tensor:
    """Count correct predictions; of a mixed image, the class with the larger weight counts."""
    expected = targets if targets.ndim == 1 else targets.argmax(1)
    return (scores.detach().argmax(1) == expected).sum()
