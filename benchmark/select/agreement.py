"""How far a selection's order is that of full training, on architectures sampled from all."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmark.select.halving import NORMAL_95

MIN_SAMPLED = 3
"""With fewer there are hardly two pairs to agree."""


@dataclass(frozen=True)
class Agreement:
    """Pairs of sampled architectures, ordered by the selection and by full training."""

    sampled: tuple[str, ...]
    """Those that could be trained, in the selection's order."""
    pairs: int
    agreeing: float
    """Pairs in the same order; one that full training ties counts as half."""
    tau: float
    """Kendall's tau-b of all sampled; nan where full training ties all."""
    low: float
    """95 % interval of the share of agreeing pairs, 0 to 1."""
    high: float
    ahead: tuple[str, ...]
    """Sampled ones that full training puts ahead of the winner, the best first."""
    regret: float
    """Validation accuracy that the best of all sampled has over the winner; 0 at least."""

    @property
    def share(self) -> float:
        """Of pairs that agree, 0 to 1."""
        return self.agreeing / self.pairs


def draw_sample(names: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the names, the same for the same seed whatever their order; all if fewer."""
    ordered = sorted(names)
    return random.Random(seed).sample(ordered, min(count, len(ordered)))  # noqa: S311


def agree(
    order: Sequence[str],
    trained: Mapping[str, float],
    winner_accuracy: float,
    judged_in_full: Collection[str] = (),
) -> Agreement | None:
    """Compare a selection's order, the best first, with accuracies after full training.

    `trained` holds the sampled architectures, `winner_accuracy` is that of the first of `order`
    when it is trained the same way. Pairs within `judged_in_full` are left out: the selection
    itself ordered them by full training, and so cannot disagree. None where there is no pair, or
    fewer than LEAST_SAMPLED architectures.

    The interval is Wilson's (1927) for as many pairs as share no architecture: pairs that do are
    not independent, and their mean varies no more than that of the disjoint ones (Hoeffding 1963).
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


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share that was found in `count` independent cases (Wilson 1927)."""
    spread = NORMAL_95**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = NORMAL_95 / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)
