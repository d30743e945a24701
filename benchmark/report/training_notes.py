"""Diagnose training curves: signs of an unsuitable recipe, each with a remedy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clothclf.results import TrainingResult

RISE = 0.05
"""Relative rise of the validation loss after the best epoch that triggers a note."""
GAIN = 0.01
"""Gain in validation accuracy over the same epochs that triggers a note, 0 to 1."""
RECENT = 2
"""Number of last epochs over which the validation accuracy may still rise."""
HARDEST_SHARE = 0.01
"""Share of a split's images that counts as few."""
IMPLAUSIBLE_LOSS = 20.0
"""Loss in nats for a true-class probability of 2e-9, which no split is large enough to support."""


FIRST = "validation loss is lowest at the first epoch; try a lower train.learning_rate"
LAST = "validation loss is lowest at the last epoch; more train.epochs may help"
OVERCONFIDENT = (
    "validation loss rises after the best epoch while validation accuracy improves: the network "
    "becomes overconfident; try a lower train.learning_rate or train.label_smoothing"
)
RISING = (
    "validation accuracy still rises at the last epoch although the loss does not fall; more "
    "train.epochs may help"
)
SPLIT = (
    "batches were split to fit in memory, which changes batch norm; lower train.batch_size for all "
    "architectures"
)
WORSE_THAN_GUESSING = (
    "validation loss is worse than chance although accuracy is better: a few images dominate the "
    "loss and thus the choice of the best epoch"
)


def training_notes(training: TrainingResult, epochs: int, classes: int) -> list[str]:
    """Notes on a training of at most `epochs` epochs with `classes` classes."""
    best, last = training.best, training.epochs[-1]
    accuracies = [epoch.valid_accuracy for epoch in training.epochs]
    rises = last.valid_loss > (1 + RISE) * best.valid_loss
    notes = {
        FIRST: best.epoch == 1 < last.epoch,
        LAST: best.epoch == epochs > 1,
        RISING: best.epoch < epochs == len(accuracies) > RECENT
        and accuracies[-1] == max(accuracies)
        and accuracies[-1] > accuracies[-1 - RECENT] + GAIN,
        SPLIT: training.parts > 1,
        OVERCONFIDENT: rises and last.valid_accuracy > best.valid_accuracy + GAIN,
        WORSE_THAN_GUESSING: best.valid_loss > math.log(classes)
        and best.valid_accuracy > 2 / classes,
    }
    return [note for note, holds in notes.items() if holds]


def early_stop(training: TrainingResult, epochs: int, patience: int | None) -> str:
    """Reason why training ended before `epochs`; empty if it did not."""
    if not training.stopped_early:
        return ""
    return (
        f"early stopping after {len(training.epochs)} of {epochs} epochs: validation loss has not "
        f"improved for {patience} epochs (train.patience)"
    )


def dominated_loss(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> tuple[float, float] | None:
    """Mean and median loss in nats if a few images dominate the mean, else None.

    `probabilities` is [n, classes], `labels` holds class indices [n].
    """
    true_class = probabilities[np.arange(len(labels)), labels].astype(float)
    losses = np.sort(-np.log(np.maximum(true_class, 1e-30)))
    few = max(1, round(HARDEST_SHARE * len(losses)))
    mean, without = float(losses.mean()), float(losses[:-few].sum()) / len(losses)
    if without > mean / 2 or losses[-few:].mean() < IMPLAUSIBLE_LOSS:
        return None
    return mean, float(np.median(losses))
