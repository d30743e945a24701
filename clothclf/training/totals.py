"""Running totals of an epoch's training loss and correct predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from clothclf.errors import TrainingError


class EpochTotals:
    """Losses and correct predictions of an epoch, kept on the device to avoid synchronization.

    Memory for all steps is preallocated: small tensors allocated at each step would fragment the
    memory between large temporary ones.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        """Allocate memory for `steps` steps."""
        self.losses = torch.zeros(steps, device=device)
        self.correct = torch.zeros(steps, dtype=torch.int64, device=device)
        self.sizes: list[int] = []

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`."""
        self.sizes = tensors["sizes"].tolist()
        for ours, name in ((self.losses, "losses"), (self.correct, "correct")):
            ours[: len(self.sizes)] = tensors[name].to(ours)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        done = len(self.sizes)
        return {
            "losses": self.losses[:done].clone(),
            "correct": self.correct[:done].clone(),
            "sizes": torch.tensor(self.sizes, dtype=torch.int64),
        }

    def add(self, loss: Tensor, correct: Tensor, size: int) -> None:
        """Record the mean loss, correct predictions and number of images of a step."""
        done = len(self.sizes)
        self.losses[done].copy_(loss)
        self.correct[done].copy_(correct)
        self.sizes.append(size)

    @property
    def images(self) -> int:
        """Number of images so far."""
        return sum(self.sizes)

    def means(self, epoch: int) -> tuple[float, float]:
        """Return mean loss and accuracy; raises TrainingError with the first non-finite step."""
        losses = self.losses.cpu().double()
        wrong = (~torch.isfinite(losses)).nonzero()
        if len(wrong):
            step = int(wrong[0]) + 1
            # In the first step, nothing was updated yet, so the learning rate is not the cause.
            remedy = (
                "the backbone's features are not finite: check model.weights"
                if (epoch, step) == (1, 1)
                else "lower train.learning_rate"
            )
            raise TrainingError(
                f"the training loss is not finite from step {step} of epoch {epoch}; {remedy}"
            )
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        correct = int(self.correct.sum())
        return float((losses * sizes).sum() / sizes.sum()), correct / self.images
