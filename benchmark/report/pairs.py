"""Pairwise comparison of architectures on the same test images, with significance tests."""

from __future__ import annotations

import dataclasses
import itertools
import statistics as plain_statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.report import statistics
from benchmark.report.predictions import RunPredictions, TestSet
from benchmark.report.rows import Row
from benchmark.report.statistics import Interval

ALPHA = 0.05
"""Significance level for adjusted p-values."""


@dataclass(frozen=True)
class Pair:
    """Comparison of two rows on the same images; the more accurate one is first."""

    first: int
    second: int
    """Indices into the analysis's rows."""
    difference: float
    """Accuracy of the first minus accuracy of the second, 0 to 1."""
    interval: Interval
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
    seed_noise: float | None
    """Difference of the two means that seeds alone explain; None for single seeds."""

    @property
    def p(self) -> float:
        """Larger of both adjusted p-values: a difference must be significant in both tests."""
        return max(self.mcnemar_adjusted, self.bootstrap_adjusted)

    @property
    def tied(self) -> bool:
        """Whether the difference may be due to chance in the test images or the seeds."""
        noisy = self.seed_noise is not None and abs(self.difference) <= self.seed_noise
        return self.p >= ALPHA or noisy


def compare_pairs(
    rows: Sequence[Row],
    predictions: Sequence[tuple[RunPredictions, ...]],
    test: TestSet,
    drawn: dict[int, npt.NDArray[np.float64]],
) -> dict[tuple[int, int], Pair]:
    """Test every pair of rows with predictions; keys are indices into `rows`, smaller first.

    `drawn` holds, by index, a row's accuracy in each resampled test set [draws].
    """
    places = [place for place, pairs in enumerate(predictions) if pairs]
    right = {
        place: [item.answers == test.labels for item in predictions[place]] for place in places
    }
    pairs = []
    for one, other in itertools.combinations(places, 2):
        counts = _differing(rows[one], rows[other], right[one], right[other])
        difference = rows[one].accuracy - rows[other].accuracy
        apart = drawn[one] - drawn[other]
        pairs.append(
            Pair(
                first=one,
                second=other,
                difference=difference,
                interval=statistics.percentile_interval(apart),
                only_first=plain_statistics.fmean(a for a, _ in counts),
                only_second=plain_statistics.fmean(b for _, b in counts),
                mcnemar_p=statistics.median_p([statistics.mcnemar_exact(*c) for c in counts]),
                bootstrap_p=statistics.bootstrap_p(difference, apart),
                mcnemar_adjusted=1.0,
                bootstrap_adjusted=1.0,
                seed_noise=noise_of_seeds(rows[one], rows[other]),
            )
        )
    return {(pair.first, pair.second): pair for pair in _adjusted(pairs)}


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
        matches = [(place, place) for place in range(min(len(seeds), len(others)))]
    return [
        (
            int((right_one[i] & ~right_other[j]).sum()),
            int((right_other[j] & ~right_one[i]).sum()),
        )
        for i, j in matches
    ]


def noise_of_seeds(one: Row, other: Row) -> float | None:
    """Difference of two mean accuracies that seeds alone explain; None for single seeds."""
    if one.accuracy_deviation is None or other.accuracy_deviation is None:
        return None
    deviations = [one.accuracy_deviation, other.accuracy_deviation]
    return statistics.seed_noise(deviations, [len(one.seeds), len(other.seeds)])


def _adjusted(pairs: Sequence[Pair]) -> list[Pair]:
    mcnemar = statistics.holm([pair.mcnemar_p for pair in pairs])
    bootstrap = statistics.holm([pair.bootstrap_p for pair in pairs])
    return [
        dataclasses.replace(pair, mcnemar_adjusted=m, bootstrap_adjusted=b)
        for pair, m, b in zip(pairs, mcnemar, bootstrap, strict=True)
    ]
