"""Accuracy by slice: the test images that share a value of a column, and the weakest of them.

A slice is weak if an architecture is less accurate on it than on the other images, by more than
chance explains over all slices and architectures that were looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.errors import ReportError
from benchmark.report import statistics
from benchmark.report.pairs import Verdict, judged_interval, verdict_of
from benchmark.report.statistics import Floats, Interval, Resampling, SeedVariance

MIN_IMAGES = 20
"""Minimum test images of a slice; values with fewer are joined."""
MAX_SLICES = 40
"""Maximum slices of a column, largest first; the other values are joined."""
MAX_ROWS = 12
"""Maximum architectures whose slices are compared, most accurate first."""
OTHER = "other values"
MISSING = "no value"
LEVEL = 0.03
"""Significance level of weak slices: the test is nearly exact, so 95 % need some room."""
PERMUTATIONS = 4000


@dataclass(frozen=True)
class SliceFigures:
    """Accuracy of one row on one slice, mean over seeds."""

    accuracy: float
    interval: Interval
    rest: float
    """Accuracy on the other images."""
    p: float
    """p-value of being at least as accurate as on the others, adjusted for all slices and rows."""


@dataclass(frozen=True)
class SlicePair:
    """Two rows on one slice; `difference` is the first's accuracy less the second's."""

    first: int
    second: int
    """Indices into the analysis's rows, smaller first."""
    difference: float
    interval: Interval
    """All intervals of a column hold together."""
    verdict: Verdict


@dataclass(frozen=True)
class Slice:
    """The test images with one value of a column."""

    column: str
    value: str
    images: int
    figures: Mapping[int, SliceFigures]
    """By index into the analysis's rows."""
    pairs: tuple[SlicePair, ...]

    def pair(self, one: int, other: int) -> SlicePair | None:
        """Comparison of two rows, in any order."""
        keys = {one, other}
        return next((pair for pair in self.pairs if {pair.first, pair.second} == keys), None)

    @property
    def weak(self) -> dict[int, SliceFigures]:
        """Rows that are significantly less accurate here than elsewhere, largest gap first."""
        weak_rows = {row: figures for row, figures in self.figures.items() if figures.p < LEVEL}
        return dict(sorted(weak_rows.items(), key=lambda item: item[1].accuracy - item[1].rest))


@dataclass(frozen=True)
class Slices:
    """Slices of each column, in the order of the columns and of their sizes."""

    all: tuple[Slice, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(dict.fromkeys(item.column for item in self.all))

    def of(self, column: str) -> tuple[Slice, ...]:
        """Slices of one column."""
        return tuple(item for item in self.all if item.column == column)

    @property
    def weakest(self) -> tuple[Slice, ...]:
        """Weak slices, those that cost the most correct predictions first."""
        return tuple(sorted((item for item in self.all if item.weak), key=_cost))


def _cost(item: Slice) -> float:
    """Correct predictions gained against the accuracy elsewhere; negative where weak."""
    return min(item.images * (one.accuracy - one.rest) for one in item.weak.values())


def compare_slices(
    columns: Mapping[str, Sequence[str]],
    correct: Mapping[int, npt.NDArray[np.bool_]],
    groups: npt.NDArray[np.int64],
    margin: float,
    ordered: Collection[str] = (),
) -> Slices:
    """Compare rows by the values of each column [n], on the same n test images.

    Slices of the columns `ordered` are sorted by the number that their values begin with, those of
    others by size.
    `correct` holds by row the correctness of its predictions [seeds, n]; images of one group are
    resampled together. Raises ReportError for a column without two slices.
    """
    masks = {name: slice_masks(name, values, name in ordered) for name, values in columns.items()}
    stacked = np.stack([mask for by_value in masks.values() for mask in by_value.values()])
    rows = list(correct)
    means = np.stack([correct[row].mean(axis=0) for row in rows])
    adjusted = weakness_p_values(means, stacked, groups)
    resampling = Resampling(groups)
    slices: list[Slice] = []
    for name, by_value in masks.items():
        own = np.stack(list(by_value.values()))
        drawn = _drawn(resampling, means, own)
        pairs = _pairs(rows, correct, own, drawn, margin)
        start = len(slices)
        for index, (value, mask) in enumerate(by_value.items()):
            figures = {
                row: _figures(
                    means[number], mask, drawn[number, index], adjusted[number, start + index]
                )
                for number, row in enumerate(rows)
            }
            slices.append(Slice(name, value, int(mask.sum()), figures, pairs[index]))
    return Slices(tuple(slices))


def slice_masks(
    column: str, values: Sequence[str], by_number: bool = False
) -> dict[str, npt.NDArray[np.bool_]]:
    """Images [n] of each value, largest first or `by_number`; small ones joined at the end."""
    texts = np.array([value or MISSING for value in values], dtype=object)
    names, counts = np.unique(texts.astype(str), return_counts=True)
    if len(names) < 2:
        raise ReportError(f"--by {column}: all test images have one value, {str(names[0])!r}")
    order = sorted(range(len(names)), key=lambda index: (-counts[index], names[index]))
    large = [names[index] for index in order if counts[index] >= MIN_IMAGES][:MAX_SLICES]
    if by_number:
        large.sort(key=lambda name: float(name.split()[0]))
    masks = {str(name): np.asarray(texts == name) for name in large}
    rest = ~np.isin(texts.astype(str), large)
    if rest.sum() >= MIN_IMAGES:
        masks[OTHER] = rest
    if len(masks) < 2:
        raise ReportError(
            f"--by {column}: its {len(names):,} values leave fewer than two slices of at least "
            f"{MIN_IMAGES} test images"
        )
    return masks


def weakness_p_values(
    means: Floats,
    masks: npt.NDArray[np.bool_],
    groups: npt.NDArray[np.int64],
    permutations: int = PERMUTATIONS,
) -> Floats:
    """p-value [rows, slices] of each slice being no weaker than the rest, for all of them together.

    Permutation test with the single-step max-T adjustment (Westfall and Young 1993): the surplus
    of correct predictions of each group of images, against the row's accuracy, changes places with
    those of other groups. A group belongs to the slice of its first image.
    """
    numbers, first, indices = np.unique(groups, return_index=True, return_inverse=True)
    count = len(numbers)
    surplus = np.zeros((count, len(means)))
    np.add.at(surplus, indices.reshape(-1), (means - means.mean(axis=1, keepdims=True)).T)
    members = masks[:, first].astype(np.float64)
    size = members.sum(axis=1)
    # The variance of a sum of `size` values drawn without replacement.
    spread = surplus.var(axis=0, ddof=1)[:, None] * size * (1 - size / count)
    deviation = np.sqrt(spread)
    safe = np.where(deviation > 0, deviation, np.inf)
    observed = (members @ surplus).T / safe
    generator = np.random.default_rng(statistics.SEED)
    lowest = np.empty(permutations)
    for number in range(permutations):
        permuted = surplus[generator.permutation(count)]
        lowest[number] = ((members @ permuted).T / safe).min()
    lowest.sort()
    reached: Floats = (1 + np.searchsorted(lowest, observed, side="right")) / (1 + permutations)
    return reached


def _drawn(resampling: Resampling, means: Floats, masks: npt.NDArray[np.bool_]) -> Floats:
    """Accuracy of each row on each slice in each resampled test set [rows, slices, draws]."""
    sizes = np.maximum(resampling.sums(masks.T), 1)
    return np.stack([(resampling.sums((mean * masks).T) / sizes).T for mean in means])


def _figures(mean: Floats, mask: npt.NDArray[np.bool_], drawn: Floats, p: float) -> SliceFigures:
    accuracy, images = float(mean[mask].mean()), int(mask.sum())
    if accuracy in (0.0, 1.0):  # resampling cannot vary it
        interval = Interval(*statistics.wilson(accuracy, images))
    else:
        interval = statistics.percentile_interval(drawn)
    return SliceFigures(accuracy, interval, float(mean[~mask].mean()), float(p))


def _pairs(
    rows: Sequence[int],
    correct: Mapping[int, npt.NDArray[np.bool_]],
    masks: npt.NDArray[np.bool_],
    drawn: Floats,
    margin: float,
) -> list[tuple[SlicePair, ...]]:
    """Compared rows by slice; tests as of all images, adjusted for the slices of a column."""
    pairs = list(itertools.combinations(range(len(rows)), 2))
    keys = [(index, i, j) for index in range(len(masks)) for i, j in pairs]
    if not keys:
        return [()] * len(masks)
    by_seed = {
        (index, number): [float(right[mask].mean()) for right in correct[row]]
        for index, mask in enumerate(masks)
        for number, row in enumerate(rows)
    }
    values = [float(np.mean(by_seed[p, i]) - np.mean(by_seed[p, j])) for p, i, j in keys]
    resampled = [drawn[i, p] - drawn[j, p] for p, i, j in keys]
    seeds = [_seed_variance(by_seed[p, i], by_seed[p, j]) for p, i, j in keys]
    differences = statistics.simultaneous_differences(values, resampled, seeds)
    exact = statistics.holm(
        [_exact(correct[rows[i]], correct[rows[j]], masks[p]) for p, i, j in keys]
    )
    by_slice: list[list[SlicePair]] = [[] for _ in masks]
    for (index, i, j), one, p in zip(keys, differences, exact, strict=True):
        interval = _with_unseen(judged_interval(one, p), int(masks[index].sum()))
        verdict = verdict_of(interval, margin)
        by_slice[index].append(SlicePair(rows[i], rows[j], one.value, interval, verdict))
    return [tuple(pairs_of) for pairs_of in by_slice]


def _with_unseen(interval: Interval, images: int) -> Interval:
    """Widen an interval around 0 by what so few images cannot show.

    Two rows that agree on all of 30 images may still differ on more than a tenth of the others.
    """
    if interval.low > 0 or interval.high < 0:
        return interval
    _, unseen = statistics.wilson(0.0, images)
    return Interval(min(interval.low, -unseen), max(interval.high, unseen))


def _seed_variance(one: Sequence[float], other: Sequence[float]) -> SeedVariance | None:
    deviations = [float(np.std(of, ddof=1)) if len(of) > 1 else None for of in (one, other)]
    return SeedVariance.of(deviations, [len(one), len(other)])


def _exact(
    one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]
) -> float:
    """Exact McNemar test of two rows on a slice, over seeds in their order."""
    return statistics.median_p(
        [statistics.mcnemar_of(a[mask], b[mask]) for a, b in zip(one, other, strict=False)]
    )
