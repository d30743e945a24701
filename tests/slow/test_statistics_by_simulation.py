"""Intervals cover, and tests err, as often as they say: 2,000 simulated comparisons for each claim.

The simulated images are drawn anew in each trial from a population whose figures are known. The
resampled test sets (1,000, half of what a report draws) are the same in all trials of one case, as
they are in reports: they depend on the groups of exact duplicates only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from benchmark.report import statistics
from benchmark.report.collect import Comparison
from benchmark.report.confidence_set import Rank, rank_rows
from benchmark.report.pairs import Pair, compare_pairs
from benchmark.report.predictions import RunPredictions, TestSet
from benchmark.report.rows import Row, make_rows
from benchmark.report.statistics import Resampling
from clothclf.training.metrics import f1_scores
from tests.benchmark.examples import make_record, make_spec

pytestmark = pytest.mark.slow

TRIALS = 2000
DRAWS = 1000
WITHIN = 0.015
"""Of 95 %, or of 5 %: three standard errors of a share of TRIALS."""
TOO_OFTEN = 0.065

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def coverage(drawn: Floats, truth: float) -> float:
    """Share of trials whose interval, from resampled figures [draws, trials], holds the truth."""
    intervals = [statistics.percentile_interval(figures) for figures in drawn.T]
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def means(counts: npt.NDArray[np.generic], groups: npt.NDArray[np.int64]) -> Floats:
    """Means over resampled images [draws, trials] of outcomes [n, trials]."""
    resampling = Resampling(groups, draws=DRAWS)
    return resampling.sums(counts) / resampling.sums(np.ones((len(groups), 1)))


def apart(images: int, differing: float, difference: float, seed: int) -> npt.NDArray[np.int64]:
    """Outcomes [n, trials] of two classifiers: 1 only the first is right, -1 only the second, 0."""
    first, second = (differing + difference) / 2, (differing - difference) / 2
    chance = np.random.default_rng(seed).random((images, TRIALS))
    return (chance < first).astype(np.int64) - (chance > 1 - second)


# Intervals


@pytest.mark.parametrize(
    ("images", "accuracy"), [(500, 0.7), (500, 0.9), (1000, 0.87), (2000, 0.95)]
)
def test_intervals_of_accuracy_cover(images: int, accuracy: float) -> None:
    right = np.random.default_rng(images).random((images, TRIALS)) < accuracy
    assert coverage(means(right, np.arange(images)), accuracy) == pytest.approx(0.95, abs=WITHIN)


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize(
    ("images", "differing"), [(500, 0.1), (1000, 0.05), (1000, 0.3), (2000, 0.02), (2000, 0.2)]
)
def test_intervals_of_differences_cover(images: int, differing: float, share: float) -> None:
    """From two that are right alike often to one that has 70 % of the images they differ on."""
    difference = share * differing
    outcomes = apart(images, differing, difference, seed=images)
    result = coverage(means(outcomes, np.arange(images)), difference)
    assert result == pytest.approx(0.95, abs=WITHIN)


def doubled(outcomes: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], Floats]:
    """The first half has exact duplicates with the same outcome; also returns the groups."""
    half = len(outcomes) // 2
    groups = np.concatenate([np.arange(len(outcomes)), np.arange(half)])
    return np.concatenate([outcomes, outcomes[:half]]), groups


def test_with_exact_duplicates_intervals_cover_only_if_exact_duplicates_are_drawn_together() -> (
    None
):
    """Resampled one by one, exact duplicates count as independent images."""
    right, groups = doubled(np.random.default_rng(1).random((800, TRIALS)) < 0.87)
    outcomes, _ = doubled(apart(800, 0.1, 0.02, seed=2))
    for counts, truth in ((right, 0.87), (outcomes, 0.02)):
        assert coverage(means(counts, groups), truth) == pytest.approx(0.95, abs=WITHIN)
        one_by_one = coverage(means(counts, np.arange(len(counts))), truth)
        assert one_by_one < 0.90


def test_the_interval_of_a_mean_over_seeds_covers_that_of_the_same_models() -> None:
    """What is uncertain is the test set; the three models are those at hand."""
    generator = np.random.default_rng(3)
    hard = generator.normal(size=(1000, TRIALS))
    is_sharded = (-1.5, -1.4, -1.6)
    rights = [hard + generator.normal(size=hard.shape) > cut for cut in is_sharded]
    truth = float(np.mean([stats.norm.sf(cut, scale=np.sqrt(2)) for cut in is_sharded]))
    drawn = np.mean([means(right, np.arange(1000)) for right in rights], axis=0)
    assert coverage(drawn, truth) == pytest.approx(0.95, abs=WITHIN)


class Population:
    """Classes of unlike size, and classifiers that take some for others more often."""

    def __init__(self, classes: int, accuracy: float) -> None:
        sizes = np.linspace(1, 4, classes)
        self.classes = classes
        self.shares = sizes / sizes.sum()
        recalls = np.linspace(accuracy - 0.08, accuracy + 0.08, classes)
        # Who is wrong most often answers with the next class.
        near = np.roll(np.eye(classes), 1, axis=1)
        other = (1 - np.eye(classes)) / (classes - 1)
        self.confusion = recalls[:, None] * np.eye(classes)
        self.confusion += (1 - recalls)[:, None] * (0.6 * near + 0.4 * other)

    def macro_f1(self) -> float:
        joint = self.shares[:, None] * self.confusion
        return float((2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))).mean())

    def targets(self, images: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        return generator.choice(self.classes, images, p=self.shares)

    def draw_predictions(
        self, targets: npt.NDArray[np.int64], chance: Floats
    ) -> npt.NDArray[np.int64]:
        """Answers for uniform `chance` [n]: the same chance and targets, the same answers."""
        result = (chance[:, None] > np.cumsum(self.confusion, axis=1)[targets]).sum(axis=1)
        return np.minimum(result, self.classes - 1)


def at_once(trials: int, size: int = 100) -> Iterator[range]:
    return (range(start, min(start + size, trials)) for start in range(0, trials, size))


def resampled_f1(resampling: Resampling, counts: Sequence[Floats], classes: int) -> Floats:
    """Macro-F1 [draws, trials] of several trials' `class_counts` [n, 3 x classes], in one go."""
    sums = resampling.sums(np.concatenate(counts, axis=1))
    sums = sums.reshape(len(sums), len(counts), 3, classes)
    return f1_scores(sums[:, :, 0], sums[:, :, 1], sums[:, :, 2]).mean(axis=-1)


@pytest.mark.parametrize(
    ("classes", "images", "accuracy"), [(3, 500, 0.8), (11, 1000, 0.87), (11, 2000, 0.9)]
)
def test_intervals_of_macro_f1_cover(classes: int, images: int, accuracy: float) -> None:
    population, generator = Population(classes, accuracy), np.random.default_rng(classes)
    resampling = Resampling(np.arange(images), draws=DRAWS)
    result = []
    for trials in at_once(TRIALS):
        counts = []
        for _ in trials:
            targets = population.targets(images, generator)
            predictions = population.draw_predictions(targets, generator.random(images))
            counts.append(statistics.class_counts(predictions, targets, classes))
        result.append(coverage(resampled_f1(resampling, counts, classes), population.macro_f1()))
    assert np.mean(result) == pytest.approx(0.95, abs=WITHIN)


def test_intervals_of_differences_of_macro_f1_cover_with_exact_duplicates_too() -> None:
    """Two classifiers that agree on most images; a fifth of the images has exact duplicates."""
    classes, images, doubles = 5, 600, 120
    better, worse = Population(classes, 0.88), Population(classes, 0.84)
    truth = better.macro_f1() - worse.macro_f1()
    groups = np.concatenate([np.arange(images), np.arange(doubles)])
    resampling, generator = Resampling(groups, draws=DRAWS), np.random.default_rng(9)
    result = []
    for trials in at_once(TRIALS):
        counts: tuple[list[Floats], list[Floats]] = ([], [])
        for _ in trials:
            targets = better.targets(images, generator)
            chance = generator.random(images)
            # Three of four images are as hard for one as for the other.
            own = np.where(generator.random(images) < 0.75, chance, generator.random(images))
            for saved, population, drawn in zip(
                counts, (better, worse), (chance, own), strict=True
            ):
                predictions = population.draw_predictions(targets, drawn)
                saved.append(statistics.class_counts(predictions[groups], targets[groups], classes))
        drawn_f1 = [resampled_f1(resampling, saved, classes) for saved in counts]
        result.append(coverage(drawn_f1[0] - drawn_f1[1], truth))
    assert np.mean(result) == pytest.approx(0.95, abs=WITHIN)


# Tests of one pair

SIZES = [
    (500, 0.04),
    (500, 0.1),
    (1000, 0.02),
    (1000, 0.05),
    (1000, 0.3),
    (2000, 0.02),
    (2000, 0.1),
]
"""Images, and the share of them on which exactly one of two is right."""


def mcnemar_p(outcomes: npt.NDArray[np.int64]) -> list[float]:
    sides = zip((outcomes == 1).sum(axis=0), (outcomes == -1).sum(axis=0), strict=True)
    return [statistics.mcnemar_exact(int(first), int(second)) for first, second in sides]


def bootstrap_p(outcomes: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> list[float]:
    drawn = means(outcomes, groups)
    seen = zip(outcomes.mean(axis=0), drawn.T, strict=True)
    return [statistics.bootstrap_p(float(observed), figures) for observed, figures in seen]


def share_below(values: Sequence[float], level: float = 0.05) -> float:
    return float(np.mean(np.asarray(values) < level))


def size_of_mcnemar(images: int, differing: float) -> float:
    """How often the exact test rejects at 5 % where both are right equally often, in theory."""
    size = 0.0
    for total in range(images + 1):
        sides = np.arange(total + 1)
        p = np.minimum(1, 2 * stats.binom.cdf(np.minimum(sides, total - sides), total, 0.5))
        rejected = stats.binom.pmf(sides, total, 0.5)[p < 0.05].sum()
        size += float(stats.binom.pmf(total, images, differing) * rejected)
    return size


@pytest.mark.parametrize(("images", "differing"), SIZES)
def test_exact_mcnemar_errs_as_often_as_theory_says_and_never_too_often(
    images: int, differing: float
) -> None:
    """An exact test of whole numbers errs less often than its level, most so for few of them."""
    result = share_below(mcnemar_p(apart(images, differing, 0, seed=images)))
    assert result <= TOO_OFTEN
    assert result == pytest.approx(size_of_mcnemar(images, differing), abs=WITHIN)


@pytest.mark.parametrize(("images", "differing"), SIZES)
def test_the_bootstrap_test_keeps_its_level(images: int, differing: float) -> None:
    outcomes = apart(images, differing, 0, seed=images + 1)
    result = share_below(bootstrap_p(outcomes, np.arange(images)))
    assert result == pytest.approx(0.05, abs=WITHIN)


def test_with_exact_duplicates_the_bootstrap_keeps_its_level_and_mcnemar_does_not() -> None:
    """Both tests must agree: McNemar counts exact duplicates as independent images."""
    outcomes, groups = doubled(apart(800, 0.1, 0, seed=4))
    assert share_below(bootstrap_p(outcomes, groups)) == pytest.approx(0.05, abs=WITHIN)
    assert share_below(mcnemar_p(outcomes)) > TOO_OFTEN


def test_three_seeds_together_do_not_err_too_often() -> None:
    """Twice the median of three p-values, of models that err on much the same images."""
    generator = np.random.default_rng(6)
    hard = 2 * generator.normal(size=(1000, TRIALS))
    by_seed = []
    for _ in range(3):
        one, other = (hard + generator.normal(size=hard.shape) > -2.5 for _ in range(2))
        by_seed.append(mcnemar_p(one.astype(np.int64) - other))
    together = [statistics.median_p(values) for values in zip(*by_seed, strict=True)]
    assert share_below(together) <= TOO_OFTEN


def test_power_rises_with_the_difference_and_with_the_images() -> None:
    for powers in (
        [(1000, 0.0), (1000, 0.01), (1000, 0.02), (1000, 0.04)],
        [(500, 0.02), (1000, 0.02), (2000, 0.02)],
    ):
        result = []
        for images, difference in powers:
            outcomes = apart(images, 0.1, difference, seed=images)
            exact = share_below(mcnemar_p(outcomes))
            resampled = share_below(bootstrap_p(outcomes, np.arange(images)))
            result.append((exact, resampled))
            assert abs(exact - resampled) < 0.06
        for (exact, resampled), (more_exact, more_resampled) in itertools.pairwise(result):
            assert more_exact > exact + 0.05
            assert more_resampled > resampled + 0.05
    assert result[-1][0] > 0.75


# Tests of many pairs


def test_holm_keeps_the_level_of_all_pairs_together() -> None:
    """Five alike architectures, ten pairs: some pair is told apart in at most 5 % of trials."""
    generator = np.random.default_rng(7)
    images, rows = 1000, 5
    hard = 1.5 * generator.normal(size=(images, TRIALS))
    rights = [hard + generator.normal(size=hard.shape) > -2 for _ in range(rows)]
    exact, resampled = [], []
    for one, other in itertools.combinations(rights, 2):
        outcomes = one.astype(np.int64) - other
        exact.append(mcnemar_p(outcomes))
        resampled.append(bootstrap_p(outcomes, np.arange(images)))
    for values in (exact, resampled):
        trials = list(zip(*values, strict=True))
        alone = [min(trial) for trial in trials]
        together = [min(statistics.holm(trial)) for trial in trials]
        assert share_below(together) <= TOO_OFTEN
        assert share_below(alone) > 0.15


# Families of comparisons, as reports make them


@dataclass(frozen=True)
class Planted:
    """Simulated studies: architectures of known accuracy on images that are hard for all."""

    accuracies: tuple[float, ...]
    images: int = 1000
    agreement: float = 1.0
    """Deviation of the images' common hardness, in units of the architectures' own noise."""
    duplicates: float = 0.0
    """Share of images that are there twice."""
    seeds: int = 1
    seed_deviation: float = 0.0
    """Standard deviation of an architecture's score between seeds."""


STUDIES = 1000
PLANTED = {
    "equal": Planted((0.85,) * 5),
    "one ahead": Planted((0.87, 0.85, 0.85, 0.85, 0.84)),
    "a ladder": Planted((0.90, 0.89, 0.88, 0.86, 0.80), images=2000),
    "little agreement": Planted((0.85, 0.85, 0.84, 0.84), agreement=0.3),
    "duplicates": Planted((0.85, 0.85, 0.84, 0.83), duplicates=0.4),
    "three seeds": Planted((0.86, 0.85, 0.85, 0.84), seeds=3, seed_deviation=0.05),
    "a margin": Planted((0.86, 0.85), images=8000, agreement=2.0),
}


def simulated(planted: Planted, seed: int) -> tuple[Bools, npt.NDArray[np.int64]]:
    """Correctness [architectures, seeds, n, STUDIES], and groups [n] of the images."""
    generator = np.random.default_rng(seed)
    copies = round(planted.duplicates * planted.images)
    single = planted.images - copies
    hardness = planted.agreement * generator.standard_normal((single, STUDIES))
    right = []
    for accuracy in planted.accuracies:
        spread = np.sqrt(1 + planted.agreement**2 + planted.seed_deviation**2)
        cut = stats.norm.isf(accuracy) * spread
        own = generator.standard_normal((planted.seeds, single, STUDIES))
        shift = planted.seed_deviation * generator.standard_normal((planted.seeds, 1, STUDIES))
        right.append(hardness + own + shift > cut)
    outcomes = np.stack(right)
    groups = np.concatenate([np.arange(single), np.arange(copies)])
    return np.concatenate([outcomes, outcomes[:, :, :copies]], axis=2), groups


def reports(
    planted: Planted, seed: int = 0
) -> Iterator[tuple[dict[int, Rank], dict[tuple[int, int], Pair]]]:
    """For each study, the ranks of its rows, and its pairs."""
    outcomes, groups = simulated(planted, seed)
    count, seeds = outcomes.shape[:2]
    resampling = Resampling(groups, draws=DRAWS)
    images = resampling.sums(np.ones((len(groups), 1)))
    drawn = np.stack(
        [
            np.mean([resampling.sums(of_seed) / images for of_seed in of_row], axis=0)
            for of_row in outcomes
        ]
    )  # [architectures, draws, STUDIES]
    by_seed = outcomes.mean(axis=2)
    labels = np.ones(len(groups), dtype=np.int64)
    for study in range(STUDIES):
        rows = [row_of(f"a{place}", by_seed[place, :, study].tolist()) for place in range(count)]
        predictions = [
            tuple(
                RunPredictions(row.records[0], probabilities(outcomes[place, number, :, study]))
                for number in range(seeds)
            )
            for place, row in enumerate(rows)
        ]
        test = TestSet(tuple(map(str, range(len(groups)))), labels, groups, labels, ("a", "b"))
        accuracies = {place: drawn[place, :, study] for place in range(count)}
        pairs = compare_pairs(rows, predictions, test, accuracies)
        yield rank_rows(rows, accuracies, pairs), pairs


def probabilities(right: Bools) -> npt.NDArray[np.float32]:
    return np.stack([~right, right], axis=1).astype(np.float32)


def row_of(name: str, accuracies: list[float]) -> Row:
    records = [make_record(make_spec(name, seed=n), a) for n, a in enumerate(accuracies)]
    (row,) = make_rows(Comparison(records, [], []))
    return row


@pytest.mark.parametrize("name", PLANTED)
def test_verdicts_and_the_confidence_set_err_in_one_of_twenty_studies(name: str) -> None:
    planted = PLANTED[name]
    truth = np.array(planted.accuracies)
    best = {place for place in range(len(truth)) if truth[place] == truth.max()}
    saved, apart, equivalent = dict.fromkeys(best, 0), 0, 0
    for ranks, pairs in reports(planted):
        for place in best:
            saved[place] += ranks[place].may_be_best
        differences = {pair: truth[pair.first] - truth[pair.second] for pair in pairs.values()}
        apart += any(
            pair.verdict == "apart" and pair.difference * difference <= 0
            for pair, difference in differences.items()
        )
        equivalent += any(
            pair.verdict == "equivalent" and abs(difference) >= pair.margin - 1e-9
            for pair, difference in differences.items()
        )
    assert min(saved.values()) / STUDIES >= 1 - TOO_OFTEN
    assert apart / STUDIES <= TOO_OFTEN
    assert equivalent / STUDIES <= TOO_OFTEN


@pytest.mark.parametrize("chance", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(
    ("images", "differing"), [(1000, 0.1), (2000, 0.05), (2000, 0.2), (5000, 0.1)]
)
def test_the_predicted_power_is_the_simulated_one(
    images: int, differing: float, chance: float
) -> None:
    difference = statistics.smallest_difference(images, differing, chance)
    outcomes = apart(images, differing, difference, seed=images)
    drawn = means(outcomes, np.arange(images))
    result = []
    for place, draws in enumerate(drawn.T):
        own = outcomes[:, place]
        (item,) = statistics.simultaneous_differences([float(own.mean())], [draws], [None])
        exact = statistics.mcnemar_exact(int((own > 0).sum()), int((own < 0).sum()))
        result.append(item.interval.low > 0 and exact < 0.05)
    assert np.mean(result) == pytest.approx(chance, abs=0.03)
