"""What training lowers: cross-entropy, with smoothed labels and classes of unequal weight."""

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
    """A loss over scores [n, classes] and targets: class numbers [n], or shares [n, classes]."""

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    """Weight of each class [classes]."""

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean over the images, in nats.

        Weighted losses are divided by the number of images, not by their weights: so are those
        of a batch's parts, which then add up to the batch's.
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
    """The recipe's loss, for training images of these class numbers."""
    weights = None
    if settings.class_weights == "balanced":
        weights = torch.from_numpy(balanced_weights(targets, classes)).float().to(device)
    return Objective(settings.label_smoothing, weights)


def balanced_weights(targets: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """images / (classes x images of the class), as scikit-learn has it; 0 for one without."""
    counts = np.bincount(targets, minlength=classes)
    return np.where(counts > 0, len(targets) / (classes * np.maximum(counts, 1)), 0.0)


def num_correct(scores: Tensor, targets: Tensor) -> Tensor:
    """How many images get their class, or of a mixed one the class of the larger share."""
    expected = targets if targets.ndim == 1 else targets.argmax(1)
    return (scores.detach().argmax(1) == expected).sum()
