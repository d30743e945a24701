"""Who goes on from one rung to the next: by validation accuracy alone, the same every time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NORMAL_95 = 1.96
"""Standard deviations on either side that hold 95 of 100 normal values."""


@dataclass(frozen=True)
class RungScore:
    """One architecture's result in a rung."""

    name: str
    accuracy: float
    """Of the validation images, 0 to 1; a mean where there are several seeds."""
    macs: int | None
    """Headline multiply-adds of one image; the fewer win a tie, unknown ones lose it."""


@dataclass(frozen=True)
class Promotion:
    """What a rung decided."""

    kept: list[RungScore]
    """The best first."""
    dropped: list[RungScore]
    """The best first."""
    noisy: frozenset[str]
    """Names of the dropped whose distance from the last kept may be chance."""


def ranked(scores: Sequence[RungScore]) -> list[RungScore]:
    """The most accurate first; of equals the one of fewer MACs, then by name."""

    def key(item: RungScore) -> tuple[float, float, str]:
        return -item.accuracy, math.inf if item.macs is None else item.macs, item.name

    return sorted(scores, key=key)


def cut(scores: Sequence[RungScore], keep: int, valid_images: int) -> Promotion:
    """Keep the best `keep` of a rung that was judged on `valid_images` images."""
    order = ranked(scores)
    kept, dropped = order[:keep], order[keep:]
    noisy = (
        {
            item.name
            for item in dropped
            if within_noise(kept[-1].accuracy, item.accuracy, valid_images)
        }
        if kept
        else set()
    )
    return Promotion(kept, dropped, frozenset(noisy))


def noise(one: float, other: float, images: int) -> float:
    """What two accuracies may differ by chance, in 95 of 100 cases, on `images` images each.

    The normal approximation for independent samples. Both are of the same images, so that they
    differ less by chance than this: it calls rather too much noise than too little.
    """
    # One image either way, so that 0 and 1 are not taken for certain (Agresti and Caffo 2000).
    shares = [(images * share + 1) / (images + 2) for share in (one, other)]
    return NORMAL_95 * math.sqrt(sum(share * (1 - share) for share in shares) / (images + 2))


def within_noise(one: float, other: float, images: int) -> bool:
    """Whether two accuracies on the same images may be told apart by chance alone."""
    return abs(one - other) <= noise(one, other, images)


def halvings(candidates: int, finalists: int) -> list[int]:
    """How many architectures each rung has: halved, rounded up, until at most `finalists` stay."""
    sizes = [candidates]
    while sizes[-1] > finalists:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def final_order(rungs: Sequence[Mapping[str, RungScore]]) -> list[str]:
    """All names in the order of a selection: who came further first, then by the last rung's rank.

    `rungs` holds, first rung first, the standings of those that finished it.
    """
    order: list[str] = []
    for rung in reversed(rungs):
        order += [item.name for item in ranked(list(rung.values())) if item.name not in order]
    return order
