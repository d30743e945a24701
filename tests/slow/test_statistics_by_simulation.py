"""Intervals cover, and tests err, as often as they say: 2,000 simulated comparisons for each claim.

The simulated images are drawn anew in each trial from a population whose figures are known. The
resampled test sets (1,000, half of what a report draws) are the same in all trials of one case, as
they are in reports: they depend on the groups of twins alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from benchmark.report import statistics
from benchmark.report.statistics import Resampling
from clothclf.training.metrics import f1_scores

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
    found = coverage(means(outcomes, np.arange(images)), difference)
    assert found == pytest.approx(0.95, abs=WITHIN)


def doubled(outcomes: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], Floats]:
    """The first half of the images has a twin with the same outcome; and all images' groups."""
    half = len(outcomes) // 2
    groups = np.concatenate([np.arange(len(outcomes)), np.arange(half)])
    return np.concatenate([outcomes, outcomes[:half]]), groups


def test_with_twins_intervals_cover_only_if_twins_are_drawn_together() -> None:
    """Drawn one by one, twins are counted as if they said something new."""
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
        self.answers = recalls[:, None] * np.eye(classes)
        self.answers += (1 - recalls)[:, None] * (0.6 * near + 0.4 * other)

    def macro_f1(self) -> float:
        joint = self.shares[:, None] * self.answers
        return float((2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))).mean())

    def targets(self, images: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        return generator.choice(self.classes, images, p=self.shares)

    def answer(self, targets: npt.NDArray[np.int64], chance: Floats) -> npt.NDArray[np.int64]:
        """Answers for uniform `chance` [n]: the same chance and targets, the same answers."""
        found = (chance[:, None] > np.cumsum(self.answers, axis=1)[targets]).sum(axis=1)
        return np.minimum(found, self.classes - 1)


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
    found = []
    for trials in at_once(TRIALS):
        counts = []
        for _ in trials:
            targets = population.targets(images, generator)
            answers = population.answer(targets, generator.random(images))
            counts.append(statistics.class_counts(answers, targets, classes))
        found.append(coverage(resampled_f1(resampling, counts, classes), population.macro_f1()))
    assert np.mean(found) == pytest.approx(0.95, abs=WITHIN)


def test_intervals_of_differences_of_macro_f1_cover_with_twins_too() -> None:
    """Two classifiers that agree on most images; the first fifth of the images has twins."""
    classes, images, doubles = 5, 600, 120
    better, worse = Population(classes, 0.88), Population(classes, 0.84)
    truth = better.macro_f1() - worse.macro_f1()
    groups = np.concatenate([np.arange(images), np.arange(doubles)])
    resampling, generator = Resampling(groups, draws=DRAWS), np.random.default_rng(9)
    found = []
    for trials in at_once(TRIALS):
        counts: tuple[list[Floats], list[Floats]] = ([], [])
        for _ in trials:
            targets = better.targets(images, generator)
            chance = generator.random(images)
            # Three of four images are as hard for one as for the other.
            own = np.where(generator.random(images) < 0.75, chance, generator.random(images))
            for kept, population, drawn in zip(counts, (better, worse), (chance, own), strict=True):
                answers = population.answer(targets, drawn)
                kept.append(statistics.class_counts(answers[groups], targets[groups], classes))
        drawn_f1 = [resampled_f1(resampling, kept, classes) for kept in counts]
        found.append(coverage(drawn_f1[0] - drawn_f1[1], truth))
    assert np.mean(found) == pytest.approx(0.95, abs=WITHIN)


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
    found = share_below(mcnemar_p(apart(images, differing, 0, seed=images)))
    assert found <= TOO_OFTEN
    assert found == pytest.approx(size_of_mcnemar(images, differing), abs=WITHIN)


@pytest.mark.parametrize(("images", "differing"), SIZES)
def test_the_bootstrap_test_keeps_its_level(images: int, differing: float) -> None:
    outcomes = apart(images, differing, 0, seed=images + 1)
    found = share_below(bootstrap_p(outcomes, np.arange(images)))
    assert found == pytest.approx(0.05, abs=WITHIN)


def test_with_twins_the_bootstrap_keeps_its_level_and_mcnemar_does_not() -> None:
    """So a difference has to convince both: McNemar takes twins for images of their own."""
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
        found = []
        for images, difference in powers:
            outcomes = apart(images, 0.1, difference, seed=images)
            exact = share_below(mcnemar_p(outcomes))
            resampled = share_below(bootstrap_p(outcomes, np.arange(images)))
            found.append((exact, resampled))
            assert abs(exact - resampled) < 0.06
        for (exact, resampled), (more_exact, more_resampled) in itertools.pairwise(found):
            assert more_exact > exact + 0.05
            assert more_resampled > resampled + 0.05
    assert found[-1][0] > 0.75


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


# Seeds


@pytest.mark.parametrize(
    ("counts", "deviations"),
    [((3, 3), (0.01, 0.01)), ((3, 5), (0.01, 0.02)), ((10, 10), (0.02, 0.005))],
)
def test_seeds_alone_go_beyond_their_noise_in_one_of_twenty(
    counts: tuple[int, int], deviations: tuple[float, float]
) -> None:
    """With three seeds in fewer: Welch's approximation is then on the safe side."""
    generator = np.random.default_rng(8)
    beyond = []
    for _ in range(TRIALS):
        drawn = [
            generator.normal(0.9, deviation, count)
            for count, deviation in zip(counts, deviations, strict=True)
        ]
        noise = statistics.seed_noise([float(x.std(ddof=1)) for x in drawn], counts)
        assert noise is not None
        beyond.append(abs(drawn[0].mean() - drawn[1].mean()) > noise)
    assert 0.02 < np.mean(beyond) <= TOO_OFTEN
