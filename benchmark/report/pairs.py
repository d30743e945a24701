"""Pairwise comparison of architectures on the same test images, with significance tests."""

from __future__ import annotations

import itertools
import math
import statistics as plain_statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.report import statistics
from benchmark.report.predictions import RunPredictions, TestSet
from benchmark.report.rows import Row
from benchmark.report.statistics import Difference, Interval, SeedVariance

ALPHA = 0.05
"""Significance level for adjusted p-values: 1 - statistics.LEVEL."""
MARGIN = 0.01
"""Default margin of equivalence: accuracies that differ by less are the same in practice."""

Verdict = Literal["apart", "equivalent", "undecided"]


def verdict_of(interval: Interval, margin: float) -> Verdict:
    """Verdict on a difference from its 95 % interval.

    `equivalent`: the interval lies within `margin` of 0, that is, two one-sided tests at 2.5 %
    reject a larger difference (Schuirmann 1987). `apart`: it excludes 0. Else `undecided`.
    """
    if -margin <= interval.low and interval.high <= margin:
        return "equivalent"
    return "apart" if interval.low > 0 or interval.high < 0 else "undecided"


def judged_interval(difference: Difference, mcnemar_adjusted: float | None) -> Interval:
    """Interval of a difference; includes 0 unless the exact McNemar test, if made, agrees."""
    if mcnemar_adjusted is None or mcnemar_adjusted < ALPHA:
        return difference.interval
    return difference.interval.including_zero()


@dataclass(frozen=True)
class Pair:
    """Comparison of two rows on the same images; the more accurate one is first."""

    first: int
    second: int
    """Indices into the analysis's rows."""
    difference: float
    """Accuracy of the first minus accuracy of the second, 0 to 1."""
    interval: Interval
    """95 % interval of the difference; all pairs' intervals hold together.

    Includes the variation of several seeds, and 0 unless both tests find a difference.
    """
    only_first: float
    """Images that only the first predicts correctly; mean over seeds."""
    only_second: float
    mcnemar_p: float
    """Exact McNemar test; over several seeds, twice the median. Not adjusted."""
    bootstrap_p: float
    """Paired bootstrap that draws exact duplicates together. Not adjusted."""
    mcnemar_adjusted: float
    """Adjusted for the number of pairs (Holm)."""
    bootstrap_adjusted: float
    """Adjusted for the number of pairs (max-T); includes the variation of several seeds."""
    error: float
    """Standard error of the difference, from test-set sampling and several seeds."""
    seed_share: float
    """Share of the squared standard error that is due to the seeds; 0 for single seeds."""
    critical: float
    """Half-width of the interval in standard errors, before it is made to include 0."""
    margin: float = MARGIN
    """Margin of equivalence, 0 to 1."""

    @property
    def p(self) -> float:
        """Larger of both adjusted p-values: a difference must be significant in both tests."""
        return max(self.mcnemar_adjusted, self.bootstrap_adjusted)

    @property
    def verdict(self) -> Verdict:
        """`apart`, `equivalent` (within the margin) or `undecided`."""
        return verdict_of(self.interval, self.margin)

    @property
    def smallest_difference(self) -> float:
        """Smallest true difference that this test set shows with 80 % probability, 0 to 1."""
        return (self.critical + _POWER_QUANTILE) * self.error

    def needed(self, images: int, seeds: int) -> Needed:
        """What would decide an undecided pair if the observed difference is the true one.

        `images` are the test images and `seeds` the available seeds of each row.
        """
        target = max(abs(self.difference), self.margin - abs(self.difference))
        allowed = (target / (self.critical + _POWER_QUANTILE)) ** 2
        of_seeds = self.seed_share * self.error**2
        of_images = self.error**2 - of_seeds
        more_images = of_images / (allowed - of_seeds) if allowed > of_seeds else math.inf
        more_seeds = of_seeds / (allowed - of_images) if allowed > of_images else math.inf
        if math.isinf(min(more_images, more_seeds)):
            return Needed()
        if self.seed_share and more_seeds <= more_images:
            return Needed(seeds=math.ceil(more_seeds * seeds))
        return Needed(images=math.ceil(more_images * images))


_POWER_QUANTILE = plain_statistics.NormalDist().inv_cdf(statistics.POWER)


@dataclass(frozen=True)
class Needed:
    """Test images or seeds that would decide a pair; both None if neither alone would."""

    images: int | None = None
    seeds: int | None = None

    def __str__(self) -> str:
        if self.seeds is not None:
            return f"about {self.seeds:,} seeds each would decide"
        if self.images is not None:
            return f"about {rounded_up(self.images):,} test images would decide"
        return "more images and more seeds would decide"


def rounded_up(number: float) -> int:
    """Round up to two digits: an estimate is no more exact."""
    whole = math.ceil(number)
    unit = 10 ** max(0, len(str(whole)) - 2)
    return int(-(-whole // unit) * unit)


def compare_pairs(
    rows: Sequence[Row],
    predictions: Sequence[tuple[RunPredictions, ...]],
    test: TestSet,
    drawn: dict[int, npt.NDArray[np.float64]],
    margin: float = MARGIN,
) -> dict[tuple[int, int], Pair]:
    """Test every pair of rows with predictions; keys are indices into `rows`, smaller first.

    `drawn` holds, by index, a row's accuracy in each resampled test set [draws].
    """
    indices = [index for index, pairs in enumerate(predictions) if pairs]
    right = {
        index: [item.predicted == test.labels for item in predictions[index]] for index in indices
    }
    keys = list(itertools.combinations(indices, 2))
    counts = [_differing(rows[i], rows[j], right[i], right[j]) for i, j in keys]
    exact = [statistics.median_p([statistics.mcnemar_exact(*c) for c in pair]) for pair in counts]
    resampled = [drawn[i] - drawn[j] for i, j in keys]
    differences = statistics.simultaneous_differences(
        [rows[i].accuracy - rows[j].accuracy for i, j in keys],
        resampled,
        [seed_variance(rows[i], rows[j]) for i, j in keys],
    )
    adjusted = statistics.holm(exact)
    return {
        (i, j): Pair(
            first=i,
            second=j,
            difference=own.value,
            interval=judged_interval(own, mcnemar),
            only_first=plain_statistics.fmean(a for a, _ in pair),
            only_second=plain_statistics.fmean(b for _, b in pair),
            mcnemar_p=p_value,
            bootstrap_p=statistics.bootstrap_p(own.value, draws),
            mcnemar_adjusted=mcnemar,
            bootstrap_adjusted=own.p,
            error=own.error,
            seed_share=own.seed_share,
            critical=own.critical,
            margin=margin,
        )
        for (i, j), own, draws, pair, p_value, mcnemar in zip(
            keys, differences, resampled, counts, exact, adjusted, strict=True
        )
    }


def seed_variance(one: Row, other: Row) -> SeedVariance | None:
    """Variance over seeds of the difference of two mean accuracies; None for single seeds."""
    deviations = [one.accuracy_deviation, other.accuracy_deviation]
    return SeedVariance.of(deviations, [len(one.seeds), len(other.seeds)])


def p_text(p: float) -> str:
    """Format a p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.01 else f"p = {p:.2f}"


def _differing(
    one: Row,
    other: Row,
    right_one: Sequence[npt.NDArray[np.bool_]],
    right_other: Sequence[npt.NDArray[np.bool_]],
) -> list[tuple[int, int]]:
    """Images that only one of two rows predicts correctly, matched by seed, else by order."""
    seeds, others = one.seeds[: len(right_one)], other.seeds[: len(right_other)]
    common = sorted(set(seeds) & set(others))
    if common:
        matches = [(seeds.index(seed), others.index(seed)) for seed in common]
    else:
        matches = [(index, index) for index in range(min(len(seeds), len(others)))]
    return [
        (
            int((right_one[i] & ~right_other[j]).sum()),
            int((right_other[j] & ~right_one[i]).sum()),
        )
        for i, j in matches
    ]
