"""Losses and correct predictions of an epoch's training steps, and their means."""

from __future__ import annotations

import torch
from torch import Tensor

from clothclf.errors import TrainingError


class EpochTotals:
    """Losses and correct predictions of an epoch, on the device so that no step waits for them.

    There is room for all steps from the start: a small tensor made and kept at each step would lie
    among the large ones that come and go, and keep memory from being used again as a whole.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        """Room for so many steps."""
        self.losses = torch.zeros(steps, device=device)
        self.correct = torch.zeros(steps, dtype=torch.int64, device=device)
        self.sizes: list[int] = []

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what an earlier process had done of the epoch."""
        self.sizes = tensors["sizes"].tolist()
        for ours, name in ((self.losses, "losses"), (self.correct, "correct")):
            ours[: len(self.sizes)] = tensors[name].to(ours)

    def tensors(self) -> dict[str, Tensor]:
        """What `load` wants."""
        done = len(self.sizes)
        return {
            "losses": self.losses[:done].clone(),
            "correct": self.correct[:done].clone(),
            "sizes": torch.tensor(self.sizes, dtype=torch.int64),
        }

    def add(self, loss: Tensor, correct: Tensor, size: int) -> None:
        """Write down a step: mean loss, correct predictions, images."""
        done = len(self.sizes)
        self.losses[done].copy_(loss)
        self.correct[done].copy_(correct)
        self.sizes.append(size)

    @property
    def images(self) -> int:
        """Images so far."""
        return sum(self.sizes)

    def means(self, epoch: int) -> tuple[float, float]:
        """Mean loss and accuracy; raises TrainingError naming the first step that went wrong."""
        losses = self.losses.cpu().double()
        wrong = (~torch.isfinite(losses)).nonzero()
        if len(wrong):
            step = int(wrong[0]) + 1
            # Before the first step nothing is learnt, so that the learning rate is not to blame.
            remedy = (
                "the backbone's features are not finite: look at model.weights"
                if (epoch, step) == (1, 1)
                else "lower train.learning_rate"
            )
            raise TrainingError(
                f"the training loss is not finite from step {step} of epoch {epoch}; {remedy}"
            )
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        correct = int(self.correct.sum())
        return float((losses * sizes).sum() / sizes.sum()), correct / self.images
