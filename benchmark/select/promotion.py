"""Deterministic promotion between rungs, by validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NORMAL_95 = 1.96
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class RungScore:
    """Score of one candidate in a rung."""

    name: str
    accuracy: float
    """Validation accuracy, 0 to 1; mean over seeds."""
    macs: int | None
    """MACs of one image; fewer win a tie, unknown ones lose it."""


@dataclass(frozen=True)
class Promotion:
    """Promoted and eliminated candidates of a rung."""

    promoted: list[RungScore]
    """Promoted candidates, best first."""
    dropped: list[RungScore]
    """Eliminated candidates, best first."""
    noisy: frozenset[str]
    """Names of eliminated candidates within noise of the last promoted one."""


def ranked(scores: Sequence[RungScore]) -> list[RungScore]:
    """Sort by accuracy, highest first; ties by fewer MACs, then by name."""

    def key(item: RungScore) -> tuple[float, float, str]:
        return -item.accuracy, math.inf if item.macs is None else item.macs, item.name

    return sorted(scores, key=key)


def promote(scores: Sequence[RungScore], keep: int, valid_images: int) -> Promotion:
    """Promote the best `keep` candidates of a rung with `valid_images` validation images."""
    order = ranked(scores)
    promoted, dropped = order[:keep], order[keep:]
    noisy = (
        {
            item.name
            for item in dropped
            if within_noise(promoted[-1].accuracy, item.accuracy, valid_images)
        }
        if promoted
        else set()
    )
    return Promotion(promoted, dropped, frozenset(noisy))


def noise(one: float, other: float, images: int) -> float:
    """Difference of two accuracies that chance explains (95 %), on `images` images each.

    Normal approximation for independent samples. Both accuracies are on the same images and vary
    less than that, so the estimate is conservative.
    """
    # Add one success and one failure, so that 0 and 1 have a variance (Agresti and Caffo 2000).
    shares = [(images * share + 1) / (images + 2) for share in (one, other)]
    return NORMAL_95 * math.sqrt(sum(share * (1 - share) for share in shares) / (images + 2))


def within_noise(one: float, other: float, images: int) -> bool:
    """Whether chance explains the difference of two accuracies."""
    return abs(one - other) <= noise(one, other, images)


def halvings(candidates: int, finalists: int) -> list[int]:
    """Number of architectures of each rung: halved, rounded up, down to at most `finalists`."""
    sizes = [candidates]
    while sizes[-1] > finalists:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def final_order(rungs: Sequence[Mapping[str, RungScore]]) -> list[str]:
    """All names, sorted by the last rung reached, then by rank in it.

    `rungs` holds the scores of finished candidates, first rung first.
    """
    order: list[str] = []
    for rung in reversed(rungs):
        order += [item.name for item in ranked(list(rung.values())) if item.name not in order]
    return order
