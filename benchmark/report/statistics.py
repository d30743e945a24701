"""How sure a comparison is: intervals, paired tests and calibration, from answers to the same test.

Nothing here knows of runs or files: images are rows of arrays, in one order for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.95
DRAWS = 2000
SEED = 0
"""Of the resampling: the same answers give the same intervals each time."""
CHUNK = 100
"""Test sets drawn at a time, for the memory they take."""
CALIBRATION_BINS = 15
COVERAGE = 0.9


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with a confidence of LEVEL."""

    low: float
    high: float


class Resampling:
    """How often each image counts in each of `draws` test sets drawn from the one at hand.

    Images of one group (`groups` [n], twins share a number) are drawn together, with
    replacement, as many groups as there are (the cluster bootstrap; Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 3.8). All that is computed from one
    resampling is paired.
    """

    def __init__(self, groups: Ints, draws: int = DRAWS, seed: int = SEED) -> None:
        """The same groups and seed give the same draws."""
        numbers, places = np.unique(groups, return_inverse=True)
        self._places = places.reshape(-1)
        count = len(numbers)
        generator = np.random.default_rng(seed)
        # A group is hardly ever drawn ten times; small numbers, since there are many.
        self._times = np.empty((draws, count), dtype=np.uint8)
        for start in range(0, draws, CHUNK):
            size = min(CHUNK, draws - start)
            drawn = generator.integers(0, count, (size, count))
            drawn += count * np.arange(size)[:, None]
            times = np.bincount(drawn.reshape(-1), minlength=size * count)
            self._times[start : start + size] = np.minimum(times, 255).reshape(size, count)

    def sums(self, counts: npt.ArrayLike) -> Floats:
        """Sums of whole numbers by image [n, k] over each drawn test set: [draws, k]."""
        values = np.asarray(counts, dtype=np.float32)
        by_group = np.zeros((self._times.shape[1], values.shape[1]), dtype=np.float32)
        np.add.at(by_group, self._places, values)
        found = np.empty((len(self._times), values.shape[1]))
        for start in range(0, len(found), CHUNK):
            # Whole numbers below 2^24 are added exactly, in whatever order.
            times = self._times[start : start + CHUNK].astype(np.float32)
            found[start : start + CHUNK] = times @ by_group
        return found


def percentile_interval(drawn: Floats, level: float = LEVEL) -> Interval:
    """The middle `level` of resampled figures [draws] (percentile bootstrap; Efron 1979)."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def macro_f1(hits: Floats, actual: Floats, answered: Floats) -> Floats:
    """Mean F1 over classes; all arguments [..., classes], a class that is absent counts as 0."""
    shares: Floats = (2 * hits / np.maximum(actual + answered, 1)).mean(axis=-1)
    return shares


def class_counts(answers: Ints, targets: Ints, classes: int) -> Floats:
    """For `macro_f1`, by image: hits, actual, answered, one after the other [n, 3 x classes]."""
    counts = np.zeros((len(answers), 3 * classes))
    rows = np.arange(len(answers))
    counts[rows, targets] = answers == targets
    counts[rows, classes + targets] = 1
    counts[rows, 2 * classes + answers] = 1
    return counts


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value that two classifiers are right equally often (McNemar 1947, exact).

    `only_first` images are answered right by the first alone, `only_second` by the second alone;
    under the hypothesis each of these falls to either side like a coin.
    """
    from scipy.special import bdtr

    differing = only_first + only_second
    if differing == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), differing, 0.5)))


def median_p(values: Sequence[float]) -> float:
    """One p-value for several of one hypothesis, however they depend on each other.

    It is twice their (upper) median (Meinshausen, Meier and Buehlmann 2009, with gamma = 1/2), and
    a single value as it is.
    """
    if len(values) == 1:
        return values[0]
    return min(1.0, 2 * sorted(values)[len(values) // 2])


def bootstrap_p(observed: float, drawn: Floats) -> float:
    """Two-sided p-value that a difference is zero, from its resampled values [draws].

    The normal approximation with the resampled deviation as standard error (Davison and Hinkley
    1997, section 4.4): counting resampled values instead could not tell apart p-values below one
    in `draws`, which comparing many pairs asks for.
    """
    error = float(drawn.std(ddof=1))
    if error == 0:
        return 1.0 if observed == 0 else 1 / (1 + len(drawn))
    return math.erfc(abs(observed) / error / math.sqrt(2))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the given order (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def seed_noise(deviations: Sequence[float], counts: Sequence[int]) -> float | None:
    """Half-width of what two means over seeds may differ by chance (Welch, LEVEL); None for one.

    `deviations` are the standard deviations over seeds of the two, `counts` how many seeds each.
    """
    from scipy.special import stdtrit

    if min(counts) < 2:
        return None
    parts = [deviation**2 / count for deviation, count in zip(deviations, counts, strict=True)]
    total = sum(parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(
        part**2 / (count - 1) for part, count in zip(parts, counts, strict=True)
    )
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total)


def calibration_error(
    probabilities: npt.ArrayLike, targets: Ints, bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error, 0 to 1, of probabilities [n, classes] (Guo et al. 2017).

    Images are put into bins of equal width by the probability of their answer; the error is the
    mean distance of the bins' accuracy from their mean probability, weighed by their images.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def accuracy_at_coverage(
    probabilities: npt.ArrayLike, targets: Ints, coverage: float = COVERAGE
) -> float:
    """Accuracy on the share `coverage` of the images that are answered most confidently.

    Of images with the same confidence at the border, each counts in part, so that their order
    does not matter.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == targets
    kept = max(1, math.ceil(coverage * len(targets) - 1e-9))
    border = np.sort(confidence)[::-1][kept - 1]
    above, at = confidence > border, confidence == border
    part = (kept - int(above.sum())) * float(right[at].mean())
    return (float(right[above].sum()) + part) / kept
