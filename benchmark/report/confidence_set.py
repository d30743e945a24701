"""Which architectures may be the most accurate: confidence set, probabilities and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.report import statistics
from benchmark.report.pairs import ALPHA, Pair, seed_variance
from benchmark.report.rows import Row


@dataclass(frozen=True)
class Rank:
    """Place of one row among the rows with predictions."""

    best_p: float
    """p-value of the hypothesis that the row is the most accurate one."""
    probability_best: float
    """Share of resampled test sets, and seeds, in which the row is the most accurate, 0 to 1."""
    low: int
    high: int
    """95 % interval of the rank, from 1; from the same tests as the verdicts on pairs."""

    @property
    def may_be_best(self) -> bool:
        """Whether the row is in the 95 % confidence set of the most accurate architecture."""
        return self.best_p >= ALPHA

    @property
    def text(self) -> str:
        """Interval of the rank: `1 to 3`, or `2`."""
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


def rank_rows(
    rows: Sequence[Row],
    drawn: Mapping[int, npt.NDArray[np.float64]],
    pairs: Mapping[tuple[int, int], Pair],
) -> dict[int, Rank]:
    """Rank the rows that have resampled accuracies `drawn` [draws]; keys are their indices.

    These must be the most accurate rows: without one of them, none can be called the best.
    """
    indices = list(drawn)
    if not indices:
        return {}
    values = np.array([rows[index].accuracy for index in indices])
    resampled = np.stack([drawn[index] for index in indices])
    seeds = [[seed_variance(rows[i], rows[j]) for j in indices] for i in indices]
    best_p = statistics.best_p_values(values, resampled, seeds)
    chances = _probabilities([rows[index] for index in indices], resampled)
    better = dict.fromkeys(indices, 0)
    worse = dict.fromkeys(indices, 0)
    for pair in pairs.values():
        if pair.interval.low > 0:
            better[pair.second] += 1
            worse[pair.first] += 1
        elif pair.interval.high < 0:
            better[pair.first] += 1
            worse[pair.second] += 1
    return {
        index: Rank(p, chance, 1 + better[index], len(rows) - worse[index])
        for index, p, chance in zip(indices, best_p, chances, strict=True)
    }


def _probabilities(rows: Sequence[Row], resampled: npt.NDArray[np.float64]) -> list[float]:
    """Share of draws in which each row is the best; equal rows share a draw."""
    noise = np.random.default_rng(statistics.SEED).standard_normal(resampled.shape)
    spread = [(row.accuracy_deviation or 0.0) / len(row.seeds) ** 0.5 for row in rows]
    values = resampled + noise * np.array(spread)[:, None]
    best = values >= values.max(axis=0)
    shares = best / best.sum(axis=0)
    return [float(share) for share in shares.mean(axis=1)]
