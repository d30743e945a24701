"""The statistics of a comparison: by hand, against other libraries, and the laws they keep."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from benchmark.errors import ReportError
from benchmark.report import statistics
from benchmark.report.analysis import Analysis, all_wrong, analyse, only_right
from benchmark.report.caveats import caveats
from benchmark.report.collect import Comparison
from benchmark.report.pairs import Pair, compare_pairs
from benchmark.report.predictions import read_predictions
from benchmark.report.render import describe_data
from benchmark.report.statistics import Floats, Resampling, SeedVariance
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from clothclf.settings import DataSettings, SplitSettings
from clothclf.training.calibration import calibration_error
from clothclf.training.metrics import f1_scores
from tests.benchmark.predicted_runs import (
    DrawnImages,
    draw_predictions,
    draw_test_set,
    store_predicted_run,
)

SAME = 1e-9
"""How closely two implementations of one method agree."""
COUNTS = st.integers(0, 400)
SHARES = st.floats(0, 1)

unhurried = settings(deadline=None)
"""Other work may hold an example up."""


def analysis_of(root: Path, *records: RunRecord) -> Analysis:
    return analyse(Comparison(list(records), [], []), root)


def drawn_right(count: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random(count) < share


# McNemar


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (0, 6, 2 / 64),
        (1, 5, 2 * 7 / 64),  # C(6,0) + C(6,1) of 64 outcomes, on both sides
        (3, 3, 1.0),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, p: float) -> None:
    assert statistics.mcnemar_exact(only_first, only_second) == pytest.approx(p, abs=SAME)


@given(COUNTS, COUNTS)
@unhurried
def test_mcnemar_is_that_of_statsmodels_and_scipy(only_first: int, only_second: int) -> None:
    ours = statistics.mcnemar_exact(only_first, only_second)
    theirs = mcnemar([[7, only_first], [only_second, 9]], exact=True).pvalue
    assert ours == pytest.approx(theirs, abs=SAME)
    if only_first + only_second:
        coin = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
        assert ours == pytest.approx(coin, abs=SAME)


@given(COUNTS, COUNTS)
@unhurried
def test_mcnemar_does_not_care_which_is_first(only_first: int, only_second: int) -> None:
    swapped = statistics.mcnemar_exact(only_second, only_first)
    assert statistics.mcnemar_exact(only_first, only_second) == swapped


@given(st.integers(0, 200), st.integers(0, 200))
@unhurried
def test_mcnemar_falls_as_the_sides_grow_apart(smaller: int, apart: int) -> None:
    total = 2 * smaller + apart
    even = statistics.mcnemar_exact(total // 2, total - total // 2)
    assert statistics.mcnemar_exact(smaller, smaller + apart) <= even + SAME


# Many p-values


def test_holm_by_hand() -> None:
    """4 x 0.01, then 3 x 0.02, then 2 x 0.03 held up by it, then 0.5."""
    assert statistics.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])


P_VALUES = st.lists(SHARES, min_size=1, max_size=30)


@given(P_VALUES)
@settings(deadline=None, max_examples=25)
def test_holm_is_that_of_statsmodels(values: list[float]) -> None:
    theirs = multipletests(values, method="holm")[1]
    assert statistics.holm(values) == pytest.approx(theirs.tolist(), abs=SAME)


@given(P_VALUES, st.randoms())
@unhurried
def test_holm_keeps_the_order_and_only_raises(values: list[float], random: object) -> None:
    adjusted = statistics.holm(values)
    assert all(value <= raised <= 1 for value, raised in zip(values, adjusted, strict=True))
    for (one, one_raised), (other, other_raised) in itertools.combinations(
        zip(values, adjusted, strict=True), 2
    ):
        assert (one <= other and one_raised <= other_raised) or (
            one >= other and one_raised >= other_raised
        )


@given(P_VALUES, st.data())
@unhurried
def test_holm_does_not_depend_on_the_order_of_pairs(
    values: list[float], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(values))))
    adjusted = statistics.holm(values)
    assert statistics.holm([values[place] for place in order]) == [adjusted[i] for i in order]


def test_several_seeds_give_twice_the_median_and_one_gives_its_own() -> None:
    assert statistics.median_p([0.04]) == 0.04
    assert statistics.median_p([0.01, 0.04, 0.9]) == pytest.approx(0.08)
    assert statistics.median_p([0.01, 0.04]) == pytest.approx(0.08)  # of two, the larger
    assert statistics.median_p([0.7, 0.8, 0.9]) == 1.0


# Resampling, intervals, bootstrap test


def test_exact_duplicates_are_drawn_together_and_each_draw_has_as_many_groups() -> None:
    groups = np.array([0, 1, 1, 2, 3, 3, 3])
    counts = np.eye(len(groups))
    times = Resampling(groups, draws=300).sums(counts)
    assert np.array_equal(times[:, 1], times[:, 2])
    assert np.array_equal(times[:, 4], times[:, 5])
    assert np.array_equal(times[:, [0, 1, 3, 4]].sum(axis=1), np.full(300, 4))


def test_sums_are_exact_and_the_same_each_time() -> None:
    groups = np.random.default_rng(1).integers(0, 40, 60)
    counts = np.random.default_rng(2).integers(0, 3, (60, 5))
    times = Resampling(groups, draws=250).sums(np.eye(60))
    expected = times @ counts
    assert np.array_equal(Resampling(groups, draws=250).sums(counts), expected)
    assert not np.array_equal(Resampling(groups, draws=250, seed=1).sums(counts), expected)


def test_resampled_accuracy_spreads_as_the_binomial_does() -> None:
    right = np.arange(1000) < 870
    drawn = Resampling(np.arange(1000), draws=20_000).sums(right[:, None])[:, 0] / 1000
    assert drawn.mean() == pytest.approx(0.87, abs=0.001)
    assert drawn.std() == pytest.approx(math.sqrt(0.87 * 0.13 / 1000), rel=0.03)
    interval = statistics.percentile_interval(drawn)
    exact = stats.binom.ppf([0.025, 0.975], 1000, 0.87) / 1000
    assert [interval.low, interval.high] == pytest.approx(exact, abs=0.0015)


def test_percentile_interval_is_that_of_scipys_bootstrap() -> None:
    right = drawn_right(300, 0.8, 3).astype(float)
    theirs = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=999, rng=0)
    ours = statistics.percentile_interval(theirs.bootstrap_distribution)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=SAME)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=SAME)


def test_percentile_interval_by_hand() -> None:
    """Of 0, 1 … 1000, the middle 95 % lies between 25 and 975."""
    interval = statistics.percentile_interval(np.arange(1001.0)[::-1])
    assert (interval.low, interval.high) == pytest.approx((25, 975))


@given(st.integers(1, 60), st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_bootstrap_p_is_that_of_the_normal_approximation(first: int, second: int) -> None:
    """With so many draws, close to z = (b - c) / sqrt(b + c - (b - c)^2 / n)."""
    outcomes = np.repeat([1, -1, 0], [first, second, 400 - first - second])
    drawn = Resampling(np.arange(400), draws=4000).sums(outcomes[:, None])[:, 0] / 400
    z = (first - second) / math.sqrt(first + second - (first - second) ** 2 / 400)
    figures_of = statistics.bootstrap_p((first - second) / 400, drawn)
    assert figures_of == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.03)


def test_bootstrap_p_of_no_spread_is_one_without_a_difference_and_small_with_one() -> None:
    assert statistics.bootstrap_p(0.0, np.zeros(999)) == 1.0
    assert statistics.bootstrap_p(1.0, np.ones(999)) == pytest.approx(0.001)


# Macro-F1 and confusion


def test_macro_f1_by_hand() -> None:
    """Three classes: F1 of 2·2/(3+2), 2·1/(2+3) and 2·1/(1+1)."""
    targets = np.array([0, 0, 0, 1, 1, 2])
    predictions = np.array([0, 0, 1, 1, 0, 2])
    sums = statistics.class_counts(predictions, targets, 3).sum(axis=0)
    assert sums.tolist() == [2, 1, 1, 3, 2, 1, 3, 2, 1]
    score = f1_scores(*np.split(sums, 3)).mean()
    assert score == pytest.approx((4 / 6 + 2 / 4 + 2 / 2) / 3, abs=SAME)


LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=80).map(
    np.array
)


@given(LABELS)
@unhurried
def test_macro_f1_is_that_of_scikit_learn(table: npt.NDArray[np.int64]) -> None:
    """With a class of neither labels nor answers counted as 0."""
    targets, predictions = table.T
    sums = statistics.class_counts(predictions, targets, 5).sum(axis=0)
    theirs = metrics.f1_score(
        targets, predictions, labels=range(5), average="macro", zero_division=0
    )
    assert f1_scores(*np.split(sums, 3)).mean() == pytest.approx(theirs, abs=SAME)


# Seeds


def test_the_variance_of_seeds_is_welchs() -> None:
    generator = np.random.default_rng(0)
    for first, second in ((3, 3), (2, 5), (10, 4)):
        one, other = generator.normal(0.9, 0.01, first), generator.normal(0.88, 0.02, second)
        theirs = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
        deviations = [float(one.std(ddof=1)), float(other.std(ddof=1))]
        ours = SeedVariance.of(deviations, [first, second])
        assert ours is not None
        half = float(stats.t.ppf(0.975, ours.freedom)) * math.sqrt(ours.variance)
        assert half == pytest.approx((theirs.high - theirs.low) / 2, abs=SAME)


def test_the_variance_of_seeds_needs_two_seeds_each_and_may_be_zero() -> None:
    assert SeedVariance.of([None, 0.01], [1, 3]) is None
    assert SeedVariance.of([0.0, 0.0], [3, 3]) == SeedVariance(0.0, math.inf)


# Families of differences


def drawn_differences(values: Sequence[float], errors: Sequence[float]) -> list[Floats]:
    generator = np.random.default_rng(0)
    return [
        value + error * generator.standard_normal(2000)
        for value, error in zip(values, errors, strict=True)
    ]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(-0.2, 0.2), st.floats(0.001, 0.1)), min_size=1, max_size=8),
    st.one_of(st.none(), st.tuples(st.floats(1e-6, 1e-2), st.floats(1, 30))),
)
def test_an_interval_excludes_zero_exactly_if_p_is_below_the_level(
    family: list[tuple[float, float]], seed: tuple[float, float] | None
) -> None:
    values = [value for value, _ in family]
    drawn = drawn_differences(values, [error for _, error in family])
    seeds = [SeedVariance(*seed) if seed else None] * len(values)
    for result in statistics.simultaneous_differences(values, drawn, seeds):
        excludes = result.interval.low > 0 or result.interval.high < 0
        assert excludes == (result.p < 0.05)


def test_one_difference_has_students_interval_and_p() -> None:
    (draws,) = drawn_differences([0.03], [0.01])
    for seed, freedom in ((None, math.inf), (SeedVariance(0.0003, 4.0), 4 * (4 / 3) ** 2)):
        (result,) = statistics.simultaneous_differences([0.03], [draws], [seed])
        error = math.sqrt(draws.var(ddof=1) + (seed.variance if seed else 0))
        half = float(stats.t.ppf(0.975, freedom)) * error
        assert result.interval.high - result.value == pytest.approx(half, rel=0.05)
        assert result.p == pytest.approx(2 * float(stats.t.sf(0.03 / error, freedom)), abs=0.02)


def test_more_comparisons_widen_intervals_and_equal_ones_do_not() -> None:
    single, *others = drawn_differences([0.02] * 20, [0.01] * 20)
    family = [single, *others]
    (one,) = statistics.simultaneous_differences([0.02], [single], [None])
    many = statistics.simultaneous_differences([0.02] * 20, family, [None] * 20)
    same = statistics.simultaneous_differences([0.02] * 20, [single] * 20, [None] * 20)
    assert many[0].critical > 1.3 * one.critical
    assert same[0].critical == pytest.approx(one.critical)


# Calibration and coverage


def two_classes(*confidences: float) -> npt.NDArray[np.float64]:
    """Probabilities of answers "0" with these confidences."""
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


def test_calibration_error_by_hand() -> None:
    """Ten bins: {0.55, 0.6} half right, {0.95} right, {0.75, 0.75} half right."""
    shares = two_classes(0.55, 0.6, 0.95, 0.75, 0.75)
    targets = np.array([0, 1, 0, 0, 1])
    expected = (abs(1 - 0.55 - 0.6) + abs(1 - 0.95) + abs(1 - 1.5)) / 5
    figures_of = calibration_error(shares, targets, bins=10)
    assert figures_of == pytest.approx(expected, abs=SAME)


def test_sure_and_right_is_calibrated_sure_and_wrong_is_not() -> None:
    shares = two_classes(1.0, 1.0, 1.0, 1.0)
    assert calibration_error(shares, np.zeros(4, dtype=int)) == 0
    assert calibration_error(shares, np.ones(4, dtype=int)) == 1


def test_accuracy_at_coverage_by_hand() -> None:
    """Of ten, the nine surest: the least sure, a wrong one, is left out."""
    shares = two_classes(*np.linspace(0.99, 0.6, 10))
    targets = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 1])
    assert statistics.accuracy_at_coverage(shares, targets) == pytest.approx(8 / 9)
    assert statistics.accuracy_at_coverage(shares, targets, 1.0) == pytest.approx(8 / 10)
    assert statistics.accuracy_at_coverage(shares, targets, 0.2) == pytest.approx(2 / 2)


def test_at_the_border_of_coverage_equal_confidences_count_in_part() -> None:
    """Four of five: one of 0.9 that is right, and three of the four of 0.7, half of them right."""
    shares = two_classes(0.7, 0.7, 0.9, 0.7, 0.7)
    targets = np.array([0, 1, 0, 1, 0])
    figures_of = statistics.accuracy_at_coverage(shares, targets, 0.8)
    assert figures_of == pytest.approx((1 + 3 * 0.5) / 4)


@given(st.lists(st.tuples(st.sampled_from([0.6, 0.7, 0.8]), st.booleans()), min_size=1), st.data())
@unhurried
def test_coverage_and_calibration_do_not_depend_on_the_order(
    images: list[tuple[float, bool]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(images))))
    shares = two_classes(*(confidence for confidence, _ in images))
    targets = np.array([int(not right) for _, right in images])
    for figure in (statistics.accuracy_at_coverage, calibration_error):
        figures_of = figure(shares, targets)
        assert figure(shares[order], targets[order]) == pytest.approx(figures_of, abs=SAME)
        assert 0 <= figures_of <= 1


@given(st.lists(st.booleans(), min_size=1), st.floats(0.01, 1))
@unhurried
def test_with_equal_confidences_coverage_changes_nothing(
    right: list[bool], coverage: float
) -> None:
    shares = two_classes(*[0.8] * len(right))
    targets = np.array([int(not item) for item in right])
    figures_of = statistics.accuracy_at_coverage(shares, targets, coverage)
    assert figures_of == pytest.approx(sum(right) / len(right), abs=SAME)


# Whole comparisons, from run folders


def test_an_analysis_agrees_with_scikit_learn(tmp_path: Path) -> None:
    images = draw_test_set(400, "abcde", duplicates=40)
    shares = draw_predictions(images.targets, drawn_right(400, 0.8, 1), 5, seed=1)
    record = store_predicted_run(tmp_path, images, shares)
    analysis = analysis_of(tmp_path, record)
    (figures,) = analysis.statistics
    assert figures is not None
    predictions = shares.argmax(axis=1)
    confusion = metrics.confusion_matrix(images.targets, predictions, labels=range(5))
    assert np.array_equal(figures.confusion, confusion)
    report = metrics.precision_recall_fscore_support(images.targets, predictions, zero_division=0)
    by_label = {result.label: result for result in figures.per_class}
    for place, label in enumerate("abcde"):
        theirs = [float(column[place]) for column in report]
        own = by_label[label]
        assert [own.precision, own.recall, own.f1, own.images] == pytest.approx(theirs, abs=SAME)
    f1 = [result.f1 for result in figures.per_class]
    assert f1 == sorted(f1)
    assert analysis.rows[0].accuracy == metrics.accuracy_score(images.targets, predictions)
    most = max((confusion[i, j], i, j) for i in range(5) for j in range(5) if i != j)
    hardest = figures.hardest[0]
    assert hardest.images == most[0]
    assert hardest.share == pytest.approx(
        hardest.images / confusion["abcde".index(hardest.label)].sum()
    )


def test_intervals_hold_the_figure_and_narrow_with_more_images(tmp_path: Path) -> None:
    widths = []
    for count in (200, 3200):
        images = draw_test_set(count, duplicates=count // 10)
        shares = draw_predictions(images.targets, drawn_right(count, 0.85, 1), 3)
        record = store_predicted_run(tmp_path / str(count), images, shares)
        analysis = analysis_of(tmp_path / str(count), record)
        (figures,), (row,) = analysis.statistics, analysis.rows
        assert figures is not None
        assert figures.macro_f1 is not None
        assert figures.accuracy.low < row.accuracy < figures.accuracy.high
        assert figures.macro_f1.low < row.macro_f1 < figures.macro_f1.high
        widths.append(figures.accuracy.high - figures.accuracy.low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.2)


def three_runs(root: Path, images: DrawnImages, order: tuple[int, ...] = (0, 1, 2)) -> Analysis:
    """Three architectures of unlike accuracy on the same images."""
    count, classes = len(images.ids), len(images.classes)
    records = []
    for number in order:
        right = drawn_right(count, 0.9 - 0.1 * number, number)
        shares = draw_predictions(images.targets, right, classes, seed=number)
        records.append(store_predicted_run(root, images, shares, f"a{number}"))
    return analysis_of(root, *records)


def figures_of(pair: Pair) -> list[float]:
    """What a pair says that does not depend on which one comes first."""
    return [pair.mcnemar_p, pair.bootstrap_p, pair.mcnemar_adjusted, pair.bootstrap_adjusted]


def test_a_pair_by_hand(tmp_path: Path) -> None:
    """Of 12 images, the first alone has 5 right, the second alone 1, both 4, none 2."""
    images = draw_test_set(12)
    first = np.array([True] * 9 + [False] * 3)
    second = np.array([True] * 4 + [False] * 5 + [True] + [False] * 2)
    records = [
        store_predicted_run(tmp_path, images, draw_predictions(images.targets, right, 3), name)
        for name, right in (("one", first), ("other", second))
    ]
    analysis = analysis_of(tmp_path, *records)
    (pair,) = analysis.pairs.values()
    assert (pair.only_first, pair.only_second) == (5, 1)
    assert pair.difference == pytest.approx(4 / 12)
    assert pair.mcnemar_p == pair.mcnemar_adjusted == pytest.approx(2 * 7 / 64)
    assert pair.interval.low < 4 / 12 < pair.interval.high
    assert pair.p == pair.mcnemar_p > pair.bootstrap_p
    assert pair.interval.low == 0  # although the bootstrap alone finds a difference
    assert pair.verdict == "undecided"
    assert [image.id for image in all_wrong(analysis)] == ["1010", "1011"]
    alone = only_right(analysis)
    assert [image.id for image in alone[0]] == [f"{1000 + i}" for i in range(4, 9)]
    assert [image.id for image in alone[1]] == ["1009"]


def test_swapping_two_rows_negates_the_difference_and_keeps_p(tmp_path: Path) -> None:
    """`compare_pairs` is asked both ways round, on the same draws."""
    images = draw_test_set(300, duplicates=30)
    analysis = three_runs(tmp_path, images)
    assert analysis.test is not None
    resampling = Resampling(analysis.test.groups)
    sizes = resampling.sums(np.ones((300, 1)))[:, 0]
    drawn = {
        place: resampling.sums((result[0].predicted == analysis.test.labels)[:, None])[:, 0] / sizes
        for place, result in enumerate(analysis.predictions)
    }
    back = {2 - place: values for place, values in drawn.items()}
    ahead = compare_pairs(analysis.rows, analysis.predictions, analysis.test, drawn)
    behind = compare_pairs(analysis.rows[::-1], analysis.predictions[::-1], analysis.test, back)
    for (one, other), pair in ahead.items():
        swapped = behind[2 - other, 2 - one]
        assert swapped.difference == -pair.difference
        assert swapped.interval.low == pytest.approx(-pair.interval.high, abs=SAME)
        assert swapped.interval.high == pytest.approx(-pair.interval.low, abs=SAME)
        assert (swapped.only_first, swapped.only_second) == (pair.only_second, pair.only_first)
        assert figures_of(swapped) == pytest.approx(figures_of(pair), abs=SAME)


def test_the_order_of_runs_and_of_files_does_not_matter(tmp_path: Path) -> None:
    """Runs keep their answers in orders of their own, too (see `store_predicted_run`)."""
    images = draw_test_set(300, duplicates=30)
    ahead = three_runs(tmp_path / "1", images)
    behind = three_runs(tmp_path / "2", images, (2, 0, 1))
    assert ahead.pairs == behind.pairs
    intervals = [figures and figures.accuracy for figures in ahead.statistics]
    assert intervals == [figures and figures.accuracy for figures in behind.statistics]


def test_counts_by_image_do_not_depend_on_the_order_of_images(tmp_path: Path) -> None:
    """Other ids for the same images: p by McNemar is the same, the interval nearly so."""
    images = draw_test_set(300)
    order = np.random.default_rng(5).permutation(300)
    first = drawn_right(300, 0.9, 1)
    second = drawn_right(300, 0.85, 2)
    pairs = []
    for name, places in (("1", np.arange(300)), ("2", order)):
        moved = DrawnImages(
            images.ids,
            images.targets[places],
            tuple(images.hashes[place] for place in places),
            images.classes,
        )
        records = [
            store_predicted_run(
                tmp_path / name, moved, draw_predictions(moved.targets, right[places], 3), who
            )
            for who, right in (("one", first), ("other", second))
        ]
        (pair,) = analysis_of(tmp_path / name, *records).pairs.values()
        pairs.append(pair)
    one, other = pairs
    assert (one.difference, one.mcnemar_p) == (other.difference, other.mcnemar_p)
    assert one.bootstrap_p == pytest.approx(other.bootstrap_p, abs=0.02)
    assert one.interval.low == pytest.approx(other.interval.low, abs=0.01)


def test_identical_answers_are_equivalent(tmp_path: Path) -> None:
    images = draw_test_set(100)
    shares = draw_predictions(images.targets, drawn_right(100, 0.8, 0), 3)
    records = [store_predicted_run(tmp_path, images, shares, name) for name in ("one", "other")]
    (pair,) = analysis_of(tmp_path, *records).pairs.values()
    assert (pair.difference, pair.interval.low, pair.interval.high) == (0, 0, 0)
    assert figures_of(pair) == [1, 1, 1, 1]
    assert pair.verdict == "equivalent"


def test_a_clear_difference_is_undecided_if_seeds_move_it_as_far(tmp_path: Path) -> None:
    images = draw_test_set(1000)

    def compared(root: Path, accuracies: dict[str, tuple[float, float]]) -> Pair:
        records = [
            store_predicted_run(
                root,
                images,
                draw_predictions(images.targets, np.arange(1000) < 1000 * accuracy, 3),
                name,
                seed=seed,
            )
            for name, of_seeds in accuracies.items()
            for seed, accuracy in enumerate(of_seeds)
        ]
        (pair,) = analysis_of(root, *records).pairs.values()
        return pair

    steady = compared(tmp_path / "steady", {"one": (0.901, 0.899), "other": (0.801, 0.799)})
    assert steady.p < 0.001
    assert steady.verdict == "apart"
    wild = compared(tmp_path / "wild", {"one": (0.95, 0.85), "other": (0.85, 0.75)})
    assert wild.mcnemar_p < 0.001
    assert wild.seed_share > 0.9
    assert wild.verdict == "undecided"
    assert wild.needed(1000, 2).seeds is not None


def test_exact_duplicates_widen_the_interval(tmp_path: Path) -> None:
    """Each image twice says no more than each image once."""
    count = 400
    images = draw_test_set(count, duplicates=count // 2)
    half = drawn_right(count // 2, 0.8, 1)
    shares = draw_predictions(images.targets, np.concatenate([half, half]), 3)
    alone = DrawnImages(images.ids, images.targets, tuple(map(str, range(count))), images.classes)
    widths = []
    for root, split in ((tmp_path / "duplicates", images), (tmp_path / "alone", alone)):
        (figures,) = analysis_of(root, store_predicted_run(root, split, shares)).statistics
        assert figures is not None
        widths.append(figures.accuracy.high - figures.accuracy.low)
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(2), rel=0.06)


def test_groups_of_like_answers_widen_the_interval_and_are_joined_by_exact_duplicates(
    tmp_path: Path,
) -> None:
    """400 images in groups of four count as 100, with exact duplicates as 50."""
    count = 400
    plain = draw_test_set(count)
    shares = draw_predictions(plain.targets, np.repeat(drawn_right(count // 8, 0.8, 1), 8), 3)
    groups = tuple(f"g{place // 4}" for place in range(count))
    # The first image of every second group is the last of the group before.
    hashes = tuple(f"{place - 1 if place % 8 == 4 else place}" for place in range(count))
    alone = dataclasses.replace(plain, groups=tuple(map(str, range(count))))
    grouped = dataclasses.replace(plain, groups=groups)
    joined = dataclasses.replace(grouped, hashes=hashes)
    widths = []
    for name, images in {"p": plain, "a": alone, "g": grouped, "j": joined}.items():
        (figures,) = analysis_of(
            tmp_path / name, store_predicted_run(tmp_path / name, images, shares)
        ).statistics
        assert figures is not None
        widths.append(figures.accuracy.high - figures.accuracy.low)
    one, own, four, eight = np.array(widths) / widths[0]
    assert own == pytest.approx(one, rel=0.06)
    assert four == pytest.approx(2, rel=0.08)
    assert eight == pytest.approx(math.sqrt(8), rel=0.08)


def test_groups_in_several_given_splits_and_few_of_them_are_caveats(tmp_path: Path) -> None:
    images = dataclasses.replace(draw_test_set(60), groups=tuple(f"g{n % 20}" for n in range(60)))
    shares = draw_predictions(images.targets, drawn_right(60, 0.8, 0), 3)
    record = store_predicted_run(tmp_path, images, shares)
    few = "With fewer than 50 independent groups of test images, intervals are too narrow."
    assert few in caveats(analysis_of(tmp_path, record))
    spec = record.spec.model_copy(
        update={
            "data": DataSettings(source="kaggle", path="x", split=SplitSettings(group="product")),
            "data_summary": dataclasses.replace(
                record.spec.data_summary, groups=40, groups_across_splits=7
            ),
        }
    )
    lines = caveats(analysis_of(tmp_path, record.model_copy(update={"spec": spec})))
    assert any(
        line.startswith("7 of 40 groups of product have images in several") for line in lines
    )
    assert "40 groups, 7 of them across splits" in describe_data(spec.data_summary)


def test_with_exact_duplicates_the_bootstrap_has_the_say(tmp_path: Path) -> None:
    """20 images to 8 are significant, unless they are 10 to 4 with an exact duplicate each."""
    images = draw_test_set(400, duplicates=200)
    half = np.arange(200)
    records = [
        store_predicted_run(
            tmp_path, images, draw_predictions(images.targets, np.tile(right, 2), 3), name
        )
        for name, right in (("one", half < 160), ("other", (half >= 10) & (half < 164)))
    ]
    (pair,) = analysis_of(tmp_path, *records).pairs.values()
    assert (pair.only_first, pair.only_second) == (20, 8)
    assert pair.mcnemar_p < 0.05
    assert pair.p == pair.bootstrap_adjusted > 0.05
    assert pair.bootstrap_p > 0.05
    assert pair.verdict == "undecided"


def test_another_test_set_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    first = draw_test_set(50)
    others = {
        "labels": DrawnImages(first.ids, (first.targets + 1) % 3, first.hashes, first.classes),
        "ids": DrawnImages(
            (*first.ids[::-1][:-1], "7"), first.targets, first.hashes, first.classes
        ),
        "fewer": DrawnImages(first.ids[1:], first.targets[1:], first.hashes[1:], first.classes),
        "classes": draw_test_set(50, "abd"),
    }
    right = drawn_right(50, 0.8, 0)
    shares = draw_predictions(first.targets, right, 3)
    one = store_predicted_run(tmp_path, first, shares, "one")
    for name, images in others.items():
        count = len(images.ids)
        shares = draw_predictions(images.targets, right[:count], 3)
        other = store_predicted_run(tmp_path, images, shares, name)
        with pytest.raises(ReportError, match=rf"{name}-s0-\w+/predictions\.parquet: "):
            read_predictions(tmp_path, [one, other])


def test_a_damaged_predictions_file_is_named_and_the_others_are_still_compared(
    tmp_path: Path,
) -> None:
    images = draw_test_set(60)
    records = [
        store_predicted_run(
            tmp_path, images, draw_predictions(images.targets, drawn_right(60, 0.8, n), 3), f"a{n}"
        )
        for n in range(3)
    ]
    path = RunFolder.of(tmp_path, records[1].spec).path / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:100])
    analysis = analysis_of(tmp_path, *records)
    assert len(analysis.pairs) == 1
    assert analysis.ranks == {}  # the one without answers may be the best
    (note,) = analysis.notes
    assert str(path) in note
    assert "has changed since the run wrote it" in note


@pytest.mark.parametrize("name", ["predictions.parquet", "manifest.parquet"])
def test_a_file_that_reads_well_but_is_not_the_runs_is_rejected(name: str, tmp_path: Path) -> None:
    """As a flipped bit may leave it: there would be an interval, of other figures."""
    images = draw_test_set(60, duplicates=10)
    shares = draw_predictions(images.targets, drawn_right(60, 0.8, 0), 3)
    record = store_predicted_run(tmp_path, images, shares)
    path = RunFolder.of(tmp_path, record.spec).path / name
    table = pd.read_parquet(path)
    if name == "predictions.parquet":
        table["p/a"] = 1 - table["p/a"]
    else:
        table["pixel_hash"] = "x"  # which makes all test images one group
    table.to_parquet(path, index=False)
    analysis = analysis_of(tmp_path, record)
    assert analysis.statistics == [None]
    assert analysis.rows[0].accuracy == record.test.accuracy
    (note,) = analysis.notes
    assert f"{path}: has changed since the run wrote it" in note
