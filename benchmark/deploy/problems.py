"""Detect variants whose predictions differ from the run's beyond rounding, and diagnose why."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.deploy.base import Probabilities

TOLERANCE = 1e-3
"""Maximum difference in probability that rounding in float32 explains."""
MAX_ACCURACY_LOSS = 0.05
"""Significant loss of accuracy, 0 to 1, beyond which a variant is unusable at any speed."""
MIN_SIGNAL_TO_NOISE = 20.0
"""Signal-to-noise ratio against float32, in decibels, below which rounding alone does not explain
a low precision.

Sound int8 has 22 to 34 in the networks of tests/slow/test_sabotage.py and in EfficientNet-Lite.
"""
MIN_PROBABILITY = 1e-7
"""Smaller probabilities are taken as this, since float32 rounds them."""
CLEARLY_CLOSER = 0.5
"""Share of the difference that remains once a mistake has been found and corrected."""
NOTICED = 0.01
"""Mean difference of the distributions, 0 to 1, below which no mistake is searched for."""
EXPLAINED = 0.9
"""Share of the images that another order of the classes must explain."""


def difference_to_float32(variant: Probabilities, float32: Probabilities) -> float:
    """Mean total variation distance of two sets of predictions [n, classes], 0 to 1."""
    return float(np.abs(variant - float32).sum(axis=1).mean() / 2)


def signal_to_noise(variant: Probabilities, float32: Probabilities) -> float:
    """Power of float32's scores over that of the difference to them, in decibels."""
    scores, expected = (_scores(values) for values in (variant, float32))
    noise = float(np.square(scores - expected).sum())
    return 10 * float(np.log10(np.square(expected).sum() / noise)) if noise else float("inf")


def _scores(probabilities: Probabilities) -> npt.NDArray[np.float64]:
    """Scores before the softmax [n, classes], except for a constant of each image."""
    logarithms = np.log(np.maximum(probabilities.astype(np.float64), MIN_PROBABILITY))
    centred: npt.NDArray[np.float64] = logarithms - logarithms.mean(axis=1, keepdims=True)
    return centred


def not_rounding(variant: Probabilities, float32: Probabilities) -> str:
    """Why a low precision differs from float32 by more than its rounding; empty if it does not."""
    decibels = signal_to_noise(variant, float32)
    if decibels >= MIN_SIGNAL_TO_NOISE:
        return ""
    return (
        f"its scores have {decibels:.1f} dB of signal to noise against float32, and sound rounding "
        f"leaves at least {MIN_SIGNAL_TO_NOISE:g}: its file is wrong, or this precision does not "
        "suit the network"
    )


def not_probabilities(variant: Probabilities, expected: tuple[int, ...]) -> str:
    """Why predictions are not probabilities of the run's classes; empty if they are."""
    if variant.shape != expected:
        return f"it returns {list(variant.shape)} numbers instead of {list(expected)}"
    if not np.isfinite(variant).all():
        return "it returns values that are not finite"
    if (variant < -TOLERANCE).any() or np.abs(variant.sum(axis=1) - 1).max() > TOLERANCE * 10:
        return "its values are not probabilities"
    return ""


def other_classes(variant: Probabilities, float32: Probabilities, tolerance: float) -> int:
    """Number of images with another class, except for two classes that are equally probable."""
    rows = np.arange(len(float32))
    gap = float32.max(axis=1) - float32[rows, variant.argmax(axis=1)]
    return int((gap > tolerance).sum())


def not_float32(variant: Probabilities, float32: Probabilities) -> str:
    """Why a float32 variant differs from the run by more than rounding; empty if it does not."""
    largest = float(np.abs(variant - float32).max())
    others = other_classes(variant, float32, TOLERANCE)
    if largest <= TOLERANCE and not others:
        return ""
    return (
        f"it predicts another class for {others:,} of {len(variant):,} images, and probabilities "
        f"differ by up to {largest:.2g}, although it computes in float32"
    )


def mistake(variant: Probabilities, float32: Probabilities, swapped: Probabilities) -> str:
    """Mistake that explains different predictions; empty if none is found.

    `swapped` [m, classes] are the variant's predictions for the first m images with red and blue
    swapped.
    """
    difference = difference_to_float32(variant, float32)
    if difference < NOTICED:
        return ""
    first = difference_to_float32(variant[: len(swapped)], float32[: len(swapped)])
    if difference_to_float32(swapped, float32[: len(swapped)]) < CLEARLY_CLOSER * first:
        return "it takes images in BGR order instead of RGB"
    order = _order(variant.argmax(axis=1), float32.argmax(axis=1), variant.shape[1])
    if order is not None:
        return "it has the classes in another order"
    return ""


def _order(
    variant: npt.NDArray[np.int64], float32: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64] | None:
    """Permutation of the classes that explains the predictions, if it is not the identity."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (variant, float32), 1)
    rows, columns = linear_sum_assignment(-counts)
    explained = counts[rows, columns].sum() / len(variant)
    same = np.trace(counts) / len(variant)
    if explained < EXPLAINED or explained - same < 1 - EXPLAINED:
        return None
    order: npt.NDArray[np.int64] = columns
    return order
