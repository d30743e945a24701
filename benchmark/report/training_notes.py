"""Signs in a training's epochs that its recipe does not suit it, each with what to do."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clothclf.results import TrainingResult

RISE = 0.05
"""Relative rise of the validation loss after the kept epoch that is worth a note."""
GAIN = 0.01
"""Validation accuracy gained meanwhile, 0 to 1."""
HARDEST_SHARE = 0.01
"""Share of a split's images that counts as a few."""
IMPLAUSIBLE_LOSS = 20.0
"""Nats: a probability of 2e-9 for the right class, which no split is large enough to support."""


FIRST = (
    "validation loss is lowest after the first epoch, which is kept; try a lower "
    "train.learning_rate"
)
LAST = "validation loss is lowest after the last epoch; more train.epochs may help"
OVERCONFIDENT = (
    "validation loss rises after the kept epoch while validation accuracy rises too: the network "
    "becomes overconfident; try a lower train.learning_rate or train.label_smoothing"
)
WORSE_THAN_GUESSING = (
    "validation loss is above that of guessing although accuracy is not: a few images dominate "
    "it, and with it the choice of the epoch"
)


def training_notes(training: TrainingResult, epochs: int, classes: int) -> list[str]:
    """What is odd about a training of at most `epochs` on `classes` classes."""
    best, last = training.best, training.epochs[-1]
    rises = last.valid_loss > (1 + RISE) * best.valid_loss
    notes = {
        FIRST: best.epoch == 1 < last.epoch,
        LAST: best.epoch == epochs > 1,
        OVERCONFIDENT: rises and last.valid_accuracy > best.valid_accuracy + GAIN,
        WORSE_THAN_GUESSING: best.valid_loss > math.log(classes)
        and best.valid_accuracy > 2 / classes,
    }
    return [note for note, holds in notes.items() if holds]


def early_stop(training: TrainingResult, epochs: int, patience: int | None) -> str:
    """Why training ended before its `epochs`; empty where it did not."""
    if not training.stopped_early:
        return ""
    return (
        f"stopped early after {len(training.epochs)} of {epochs} epochs: validation loss has not "
        f"fallen for {patience} (train.patience)"
    )


def dominated_loss(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> tuple[float, float] | None:
    """Mean and median loss in nats where a few images make most of the mean; else None.

    `probabilities` is [n, classes], `labels` class numbers [n].
    """
    true_class = probabilities[np.arange(len(labels)), labels].astype(float)
    losses = np.sort(-np.log(np.maximum(true_class, 1e-30)))
    few = max(1, round(HARDEST_SHARE * len(losses)))
    mean, without = float(losses.mean()), float(losses[:-few].sum()) / len(losses)
    if without > mean / 2 or losses[-few:].mean() < IMPLAUSIBLE_LOSS:
        return None
    return mean, float(np.median(losses))
