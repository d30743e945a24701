"""Rank agreement of a selection with full training, on a sample of architectures."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmark.report.statistics import wilson

MIN_SAMPLED = 3
"""Minimum number of sampled architectures; fewer give too few pairs."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of the selection's order with full training, by pairs of architectures."""

    sampled: tuple[str, ...]
    """Sampled architectures that finished training, in the selection's order."""
    pairs: int
    agreeing: float
    """Pairs in the same order; a tie after full training counts as half."""
    tau: float
    """Kendall's tau-b over the sample; nan if full training ties all."""
    low: float
    """95 % interval of the share of agreeing pairs, 0 to 1."""
    high: float
    ahead: tuple[str, ...]
    """Sampled architectures that are better than the winner after full training, best first."""
    regret: float
    """Validation accuracy of the best sampled architecture minus the winner's, at least 0."""

    @property
    def share(self) -> float:
        """Share of agreeing pairs, 0 to 1."""
        return self.agreeing / self.pairs


def draw_sample(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Sample `count` names, independent of their order; all names if there are fewer."""
    ordered = sorted(names)
    return random.Random(seed).sample(ordered, min(count, len(ordered)))  # noqa: S311


def agree(
    order: Sequence[str],
    trained: Mapping[str, float],
    winner_accuracy: float,
    judged_in_full: Collection[str] = (),
) -> Agreement | None:
    """Compare a selection's order, best first, with accuracies after full training.

    `trained` holds the sampled architectures. `winner_accuracy` is the accuracy of the first of
    `order`, trained the same way. Pairs within `judged_in_full` are excluded: the selection
    ordered them by full training, so they always agree. None without pairs, or with fewer than
    MIN_SAMPLED architectures.

    The interval is Wilson's (1927) for the number of disjoint pairs. Overlapping pairs are not
    independent, and their mean varies no more than that of disjoint pairs (Hoeffding 1963).
    """
    from scipy.stats import kendalltau

    names = [name for name in order if name in trained]
    pairs = [
        (trained[first], trained[second])
        for first, second in itertools.combinations(names, 2)
        if not (first in judged_in_full and second in judged_in_full)
    ]
    if len(names) < MIN_SAMPLED or not pairs:
        return None
    agreeing = sum(
        1.0 if better > worse else 0.5 if better == worse else 0.0 for better, worse in pairs
    )
    tau = kendalltau(range(len(names), 0, -1), [trained[name] for name in names]).statistic
    low, high = wilson(agreeing / len(pairs), len(names) // 2)
    ahead = [name for name in names if name != order[0] and trained[name] > winner_accuracy]
    ahead.sort(key=lambda name: (-trained[name], name))
    regret = max([0.0, *(trained[name] - winner_accuracy for name in ahead)])
    return Agreement(
        tuple(names), len(pairs), agreeing, float(tau), low, high, tuple(ahead), regret
    )
