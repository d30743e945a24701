"""Confidence intervals and paired tests from predictions on the same test set.

Independent of runs and files: images are rows of arrays, in the same order for all models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.95
POWER = 0.8
"""Probability with which a comparison should be decided, for the numbers of images and seeds."""
DRAWS = 2000
SEED = 0
"""Seed of the resampling, so that the same predictions always give the same intervals."""
CHUNK = 100
"""Resampled test sets drawn at a time, to limit memory."""
COVERAGE = 0.9


@dataclass(frozen=True)
class Interval:
    """Confidence interval at level LEVEL."""

    low: float
    high: float

    def including_zero(self) -> Interval:
        """Widen the interval so that it includes 0."""
        return Interval(min(self.low, 0.0), max(self.high, 0.0))

    def negated(self) -> Interval:
        """Interval of the difference the other way round."""
        return Interval(-self.high, -self.low)


class Resampling:
    """Cluster bootstrap of a test set: the weight of each image in each of `draws` resamples.

    Images of one group (`groups` [n]; exact duplicates share a number) are drawn together, with
    replacement, as many groups as there are (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 3.8). Statistics computed from one resampling are paired.
    """

    def __init__(self, groups: Ints, draws: int = DRAWS, seed: int = SEED) -> None:
        """Draw the resamples; the same groups and seed give the same draws."""
        numbers, indices = np.unique(groups, return_inverse=True)
        self._indices = indices.reshape(-1)
        count = len(numbers)
        generator = np.random.default_rng(seed)
        # A group is rarely drawn ten times, so uint8 is enough and saves memory.
        self._times = np.empty((draws, count), dtype=np.uint8)
        for start in range(0, draws, CHUNK):
            size = min(CHUNK, draws - start)
            drawn = generator.integers(0, count, (size, count))
            drawn += count * np.arange(size)[:, None]
            times = np.bincount(drawn.reshape(-1), minlength=size * count)
            self._times[start : start + size] = np.minimum(times, 255).reshape(size, count)

    def sums(self, counts: npt.ArrayLike) -> Floats:
        """Sum integer counts by image [n, k] over each resampled test set: [draws, k]."""
        values = np.asarray(counts, dtype=np.float32)
        by_group = np.zeros((self._times.shape[1], values.shape[1]), dtype=np.float32)
        np.add.at(by_group, self._indices, values)
        sums = np.empty((len(self._times), values.shape[1]))
        for start in range(0, len(sums), CHUNK):
            # float32 adds integers below 2^24 exactly, in any order.
            times = self._times[start : start + CHUNK].astype(np.float32)
            sums[start : start + CHUNK] = times @ by_group
        return sums

    def sizes(self) -> Floats:
        """Number of images in each resampled test set [draws]."""
        return self.sums(np.ones((len(self._indices), 1)))[:, 0]


def percentile_interval(drawn: Floats, level: float = LEVEL) -> Interval:
    """Percentile bootstrap interval of resampled statistics [draws] (Efron 1979)."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share in `count` independent cases (Wilson 1927)."""
    normal = NormalDist().inv_cdf((1 + LEVEL) / 2)
    spread = normal**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = normal / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def class_counts(predictions: Ints, targets: Ints, classes: int) -> Floats:
    """Counts by image for `f1_scores`: hits, actual and predicted, joined [n, 3 x classes]."""
    counts = np.zeros((len(predictions), 3 * classes))
    rows = np.arange(len(predictions))
    counts[rows, targets] = predictions == targets
    counts[rows, classes + targets] = 1
    counts[rows, 2 * classes + predictions] = 1
    return counts


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test (McNemar 1947).

    Only the first classifier is correct on `only_first` images, only the second on
    `only_second`. Under the null hypothesis both are equally likely for each of these images.
    """
    from scipy.special import bdtr

    differing = only_first + only_second
    if differing == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), differing, 0.5)))


def mcnemar_of(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """`mcnemar_exact` of the correctness [n] of two predictions of the same images."""
    return mcnemar_exact(int((first & ~second).sum()), int((second & ~first).sum()))


def median_p(values: Sequence[float]) -> float:
    """Combine p-values of one hypothesis under arbitrary dependence.

    Returns twice their (upper) median (Meinshausen, Meier and Buehlmann 2009, with gamma = 1/2);
    a single value is returned unchanged.
    """
    if len(values) == 1:
        return values[0]
    return min(1.0, 2 * sorted(values)[len(values) // 2])


def bootstrap_p(observed: float, drawn: Floats) -> float:
    """Two-sided p-value of a zero difference, from its resampled values [draws].

    Uses the normal approximation with the bootstrap standard error (Davison and Hinkley 1997,
    section 4.4). Counting resampled values cannot resolve p-values below 1 / `draws`, which an
    adjustment for many pairs needs.
    """
    error = float(drawn.std(ddof=1))
    if error == 0:
        return 1.0 if observed == 0 else 1 / (1 + len(drawn))
    return math.erfc(abs(observed) / error / math.sqrt(2))


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons, in the given order (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class SeedVariance:
    """Variance of a difference of two means over seeds, with its degrees of freedom (Welch)."""

    variance: float
    freedom: float

    @staticmethod
    def of(deviations: Sequence[float | None], counts: Sequence[int]) -> SeedVariance | None:
        """Compute from two standard deviations over seeds and their numbers of seeds.

        None if either has a single seed.
        """
        known = [deviation for deviation in deviations if deviation is not None]
        if len(known) < len(deviations) or min(counts) < 2:
            return None
        parts = [deviation**2 / count for deviation, count in zip(known, counts, strict=True)]
        spread = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
        total = sum(parts)
        return SeedVariance(total, total**2 / spread if spread else math.inf)

    @staticmethod
    def of_seeds(one: Sequence[float], other: Sequence[float]) -> SeedVariance | None:
        """Compute from the values of each seed; None if either has a single seed."""
        deviations = [float(np.std(of, ddof=1)) if len(of) > 1 else None for of in (one, other)]
        return SeedVariance.of(deviations, [len(one), len(other)])


@dataclass(frozen=True)
class Difference:
    """A difference of two accuracies and its uncertainty, adjusted for a family of comparisons."""

    value: float
    interval: Interval
    """Simultaneous interval; excludes 0 exactly if `p` is below 1 - LEVEL."""
    p: float
    """Adjusted p-value of a zero difference."""
    error: float
    """Standard error, from test-set sampling and, with several seeds, from the seeds."""
    seed_share: float
    """Share of the squared standard error that is due to the seeds, 0 to 1."""
    critical: float
    """Half-width of the interval in standard errors."""


def simultaneous_differences(
    values: Sequence[float],
    drawn: Sequence[Floats],
    seeds: Sequence[SeedVariance | None],
    level: float = LEVEL,
) -> list[Difference]:
    """Intervals and p-values of a family of differences that hold together at `level`.

    Single-step max-T method (Westfall and Young, Resampling-Based Multiple Testing, 1993): the
    critical value is the quantile of the largest standardized deviation, over the whole family, of
    `drawn` (one array [draws] for each difference, from one resampling) from `values`. With several
    seeds, the standard error includes their variance, and the critical value becomes that of
    Student's t with Satterthwaite's degrees of freedom at the same tail probability.
    """
    from scipy.special import ndtr, stdtrit

    errors = [float(draws.std(ddof=1)) for draws in drawn]
    largest = np.zeros(len(drawn[0]) if len(drawn) else 0)
    for value, draws, error in zip(values, drawn, errors, strict=True):
        if error:
            np.maximum(largest, np.abs(draws - value) / error, out=largest)
    largest.sort()
    # The largest number of draws beyond the critical value for which p is below 1 - level.
    beyond = max(0, math.ceil((1 - level) * (1 + len(largest))) - 2)
    normal = float(largest[len(largest) - 1 - beyond]) if len(largest) else math.inf
    results = []
    for value, sampling, seed in zip(values, errors, seeds, strict=True):
        error, seed_share, freedom = _with_seeds(sampling, seed)
        critical = normal
        if math.isfinite(freedom):
            critical = -float(stdtrit(freedom, ndtr(-normal)))
        results.append(
            Difference(
                value=value,
                interval=Interval(value - critical * error, value + critical * error),
                p=_share_reaching(largest, _standardized(abs(value), error, freedom)),
                error=error,
                seed_share=seed_share,
                critical=critical,
            )
        )
    return results


def best_p_values(
    values: Floats, drawn: Floats, seeds: Sequence[Sequence[SeedVariance | None]]
) -> list[float]:
    """p-value for each of k architectures of the hypothesis that it is the most accurate.

    Multiple comparisons with the best (Hsu, Annals of Statistics 12, 1984), resampled: compares
    the largest standardized lead of another architecture with its distribution over `drawn` [k,
    draws]. `values` [k] are the observed accuracies and `seeds` [k][k] the variances of their
    differences. Those with p of at least 1 - level are a confidence set: it includes the best with
    a probability of at least `level`.
    """
    deviations = drawn - values[:, None]
    p_values = []
    for index, value in enumerate(values):
        differences = deviations - deviations[index]
        sampling = differences.std(axis=1, ddof=1)
        others = [other for other in range(len(values)) if sampling[other] > 0]
        largest = np.zeros(drawn.shape[1])
        lead = 0.0
        for other in range(len(values)):
            error, _, freedom = _with_seeds(float(sampling[other]), seeds[index][other])
            lead = max(lead, _standardized(float(values[other] - value), error, freedom))
        for other in others:
            np.maximum(largest, differences[other] / sampling[other], out=largest)
        largest.sort()
        p_values.append(_share_reaching(largest, lead))
    return p_values


def _with_seeds(sampling: float, seed: SeedVariance | None) -> tuple[float, float, float]:
    """Standard error with the seeds, their share of its square, and degrees of freedom."""
    if seed is None or not seed.variance:
        return sampling, 0.0, math.inf
    error = math.sqrt(sampling**2 + seed.variance)
    share = seed.variance / error**2
    return error, share, seed.freedom / share**2


def _standardized(value: float, error: float, freedom: float) -> float:
    """Value in standard errors, as the normal deviate of the same tail probability."""
    from scipy.special import ndtri, stdtr

    if not error:
        return math.inf if value > 0 else 0.0
    if math.isinf(freedom):
        return value / error
    return -float(ndtri(stdtr(freedom, -value / error)))


def _share_reaching(ordered: Floats, statistic: float) -> float:
    """p-value of a statistic among resampled ones, in ascending order."""
    reached = len(ordered) - int(np.searchsorted(ordered, statistic))
    return (1 + reached) / (1 + len(ordered))


def smallest_difference(images: int, differing: float, chance: float = POWER) -> float:
    """Smallest difference of two accuracies that a test set of `images` shows.

    The two architectures are right on different images in a share `differing` of the test set. The
    95 % interval of such a difference excludes 0 with probability `chance`. The exact McNemar test,
    which must agree, costs one image.
    """
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + LEVEL) / 2) + normal.inv_cdf(chance)
    return quantiles * math.sqrt(differing / (images + quantiles**2)) + 1 / images


def accuracy_at_coverage(
    probabilities: npt.ArrayLike, targets: Ints, coverage: float = COVERAGE
) -> float:
    """Accuracy on the share `coverage` of images with the highest confidence.

    Images tied at the confidence threshold count fractionally, so the result does not depend on
    their order.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    confidence = shares.max(axis=1)
    correct = shares.argmax(axis=1) == targets
    covered = max(1, math.ceil(coverage * len(targets) - 1e-9))
    threshold = np.sort(confidence)[::-1][covered - 1]
    above, at = confidence > threshold, confidence == threshold
    part = (covered - int(above.sum())) * float(correct[at].mean())
    return (float(correct[above].sum()) + part) / covered
