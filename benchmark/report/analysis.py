"""Analysis of one comparison: rows, uncertainty, pairwise tests and the pick.

Every report format is written from an `Analysis`, so all formats agree.
"""

from __future__ import annotations

import functools
import statistics as plain_statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.errors import ReportError
from benchmark.report import statistics
from benchmark.report.collect import Comparison
from benchmark.report.confidence_set import Rank, rank_rows
from benchmark.report.corrected_labels import Corrections, read_corrections
from benchmark.report.deployed import RowVariants, row_variants
from benchmark.report.learning_curves import CurveSection, curve_section
from benchmark.report.pairs import Pair, compare_pairs
from benchmark.report.pick import Pick, choose_pick
from benchmark.report.pick_rule import NO_CRITERIA, Criteria, Drawn
from benchmark.report.predictions import (
    RunPredictions,
    Split,
    TestSet,
    has_predictions,
    read_predictions,
)
from benchmark.report.rows import Row, make_rows
from benchmark.report.sections import OPTIONAL_SECTIONS, Section
from benchmark.report.slices import Slices
from benchmark.report.statistics import Interval, Resampling
from benchmark.report.stress import Stressed, read_stress
from benchmark.report.suspects import WithoutSuspects, without_suspects
from benchmark.report.targets import with_target
from clothclf.results import ClassResult
from clothclf.training.calibration import calibration_error, with_temperature
from clothclf.training.metrics import class_results, f1_scores

MAX_ROWS_READ = 60
"""Maximum rows to compare in pairs, most accurate first; pairs grow quadratically."""
MAX_SEEDS = 10
"""Maximum seeds of a row whose predictions are read; more would hardly narrow an interval."""
MAX_CLASSES = 200
"""Maximum classes for an interval of macro-F1, which would otherwise take minutes."""
HARDEST = 5


@dataclass(frozen=True)
class Confusion:
    """A confusion of two classes."""

    label: str
    predicted: str
    images: float
    """Number of images, mean over seeds."""
    share: float
    """Share of the true class's images, 0 to 1."""


@dataclass(frozen=True)
class RowStatistics:
    """Uncertainty, calibration and errors of one row; means over seeds."""

    accuracy: Interval
    macro_f1: Interval | None
    test_deviation: float
    """Standard error of the accuracy from test-set sampling."""
    calibration_error: float
    """Expected calibration error of the stored probabilities, 0 to 1."""
    calibrated_error: float | None
    """The same with each run's temperature; None if a run has none."""
    accuracy_at_coverage: float
    """Accuracy on the 90 % of images with the highest confidence."""
    confusion: npt.NDArray[np.int64]
    """Confusion matrix [true classes, predicted classes], summed over seeds."""
    per_class: tuple[ClassResult, ...]
    """Results by class over all seeds, lowest F1 first."""
    hardest: tuple[Confusion, ...]
    """Most frequent confusions, most images first."""


@dataclass(frozen=True)
class Analysis:
    """Results of analysing one comparison."""

    comparison: Comparison
    root: Path
    """Tracking folder, below which the run folders are."""
    rows: list[Row]
    """Sorted by accuracy, highest first."""
    statistics: list[RowStatistics | None]
    """One for each row; None without predictions or beyond MAX_ROWS_READ rows."""
    pairs: dict[tuple[int, int], Pair]
    """Tested pairs by indices into `rows`, smaller first."""
    predictions: list[tuple[RunPredictions, ...]]
    """Predictions by row, one for each seed; empty for rows without statistics."""
    test: TestSet | None
    notes: tuple[str, ...]
    """Reasons why rows have no statistics."""
    pick: Pick | None
    ranks: dict[int, Rank]
    """Uncertainty of the ranking by test accuracy, by indices into `rows`.

    Empty if a row lacks predictions, or a run its record.
    """
    without: WithoutSuspects | None = None
    """Accuracy without suspected label errors; None unless the data has been audited."""
    deployed: tuple[RowVariants, ...] = ()
    """Variants measured by `bench deploy`, for the rows that have some."""
    slices: Slices | None = None
    """Accuracy by slice of the test images; None unless asked for."""

    # Formats read these several times, and most commands that analyse a study never do.

    @functools.cached_property
    def curves(self) -> CurveSection:
        """Learning curves measured by `bench curve`, for the rows that have one."""
        return curve_section(self.rows, self.root)

    @functools.cached_property
    def corrections(self) -> Corrections | None:
        """Accuracy before and after `data.corrections`; None unless they changed the data."""
        return read_corrections(self)

    @functools.cached_property
    def stress(self) -> Stressed:
        """Results of `bench stress`, for the rows that have some."""
        return read_stress(self.rows, self.root)

    @functools.cached_property
    def sections(self) -> dict[str, Section]:
        """Optional sections with content, by name in `OPTIONAL_SECTIONS`."""
        contents = {
            name: entry.load().section(self)
            for name, entry in OPTIONAL_SECTIONS.items()
            if self.rows
        }
        return {name: section for name, section in contents.items() if section is not None}


def analyse(comparison: Comparison, root: Path, criteria: Criteria = NO_CRITERIA) -> Analysis:
    """Analyse the runs of one comparison; run folders are below the tracking folder `root`."""
    rows = make_rows(comparison)
    deployed = row_variants(rows, root, criteria.margin / 100)
    rows = with_target(rows, deployed, criteria.target, criteria.price_per_hour)
    test, predictions, notes = _predictions_by_row(rows, root)
    figures: list[RowStatistics | None] = [None] * len(rows)
    pairs: dict[tuple[int, int], Pair] = {}
    drawn: dict[int, npt.NDArray[np.float64]] = {}
    if test is not None:
        resampling = Resampling(test.groups)
        images = resampling.sizes()
        for index, row_predictions in enumerate(predictions):
            if row_predictions:
                figures[index], drawn[index] = _row_statistics(
                    row_predictions, test, resampling, images
                )
        pairs = compare_pairs(rows, predictions, test, drawn, criteria.margin / 100)
    if criteria.choose_on == "test":
        choosing = _drawn(drawn, len(rows), len(test) if test else 0)
    else:
        choosing, more_notes = _drawn_on_validation(rows, root)
        notes += more_notes
    pick = choose_pick(rows, criteria, pairs, choosing)
    complete = all(predictions[:MAX_ROWS_READ]) and not comparison.refused
    ranks = rank_rows(rows, drawn, pairs) if complete else {}
    without = without_suspects(
        root, comparison.specs[0].data_summary.fingerprint, test, predictions
    )
    return Analysis(
        comparison,
        root,
        rows,
        figures,
        pairs,
        predictions,
        test,
        notes,
        pick,
        ranks,
        without,
        deployed,
    )


def _drawn(drawn: Mapping[int, npt.NDArray[np.float64]], count: int, images: int) -> Drawn | None:
    """Resampled accuracies of all `count` rows; None unless each has them."""
    if not count or len(drawn) < count:
        return None
    return Drawn(np.stack([drawn[index] for index in range(count)]), images)


def _drawn_on_validation(rows: Sequence[Row], root: Path) -> tuple[Drawn | None, tuple[str, ...]]:
    """Resampled validation accuracies, with notes; None if a run did not store its predictions."""
    stored = [
        all(has_predictions(root, record, "valid") for record in row.records[:MAX_SEEDS])
        for row in rows
    ]
    if not all(stored) or len(rows) > MAX_ROWS_READ:
        return None, ()
    valid, predictions, notes = _predictions_by_row(rows, root, "valid")
    if valid is None or not all(predictions):
        return None, notes
    resampling = Resampling(valid.groups)
    images = resampling.sizes()
    drawn = {}
    for index, of_seeds in enumerate(predictions):
        right = np.stack([item.predicted == valid.labels for item in of_seeds], axis=1)
        drawn[index] = (resampling.sums(right) / images[:, None]).mean(axis=1)
    return _drawn(drawn, len(rows), len(valid)), ()


def _predictions_by_row(
    rows: Sequence[Row], root: Path, split: Split = "test"
) -> tuple[TestSet | None, list[tuple[RunPredictions, ...]], tuple[str, ...]]:
    test: TestSet | None = None
    by_row: list[tuple[RunPredictions, ...]] = []
    notes: list[str] = []
    lacking: list[str] = []
    for row in rows[:MAX_ROWS_READ]:
        records = row.records[:MAX_SEEDS]
        if not all(has_predictions(root, record, split) for record in records):
            by_row.append(())
            lacking.append(row.name)
            continue
        try:
            own, predictions = read_predictions(root, records, split)
            if test is not None and (own.ids, own.labels.tolist()) != (
                test.ids,
                test.labels.tolist(),
            ):
                raise ReportError(f"{row.name}: its test set differs from the rows above it")
        except ReportError as error:
            by_row.append(())
            missing = "confidence interval" if split == "test" else "check of the choice"
            notes.append(f"no {missing}: {error}")
            continue
        test = test or own
        by_row.append(tuple(predictions))
    if lacking:
        notes.append(f"no confidence interval without saved predictions: {', '.join(lacking)}")
    if any(len(row.seeds) > MAX_SEEDS for row in rows):
        notes.append(f"intervals use only the first {MAX_SEEDS} seeds of each architecture")
    if len(rows) > MAX_ROWS_READ:
        notes.append(f"intervals and pairs cover only the {MAX_ROWS_READ} most accurate rows")
    return test, [*by_row, *[()] * (len(rows) - len(by_row))], tuple(notes)


def _row_statistics(
    predictions: Sequence[RunPredictions],
    test: TestSet,
    resampling: Resampling,
    images: npt.NDArray[np.float64],
) -> tuple[RowStatistics, npt.NDArray[np.float64]]:
    """Statistics of a row, and its accuracy in each resampled test set [draws]."""
    count = len(test.classes)
    confusion = np.zeros((count, count), dtype=np.int64)
    for item in predictions:
        np.add.at(confusion, (test.labels, item.predicted), 1)
    drawn, scores = resampled_figures(predictions, test, resampling, images)
    shares = [item.probabilities for item in predictions]
    errors = [calibration_error(share, test.labels) for share in shares]
    calibrated = [
        calibration_error(with_temperature(item.probabilities, temperature), test.labels)
        for item in predictions
        if (temperature := item.record.training.temperature) is not None
    ]
    covered = [statistics.accuracy_at_coverage(share, test.labels) for share in shares]
    per_class = class_results(confusion, test.classes, len(predictions))
    figures = RowStatistics(
        accuracy=statistics.percentile_interval(drawn),
        macro_f1=None if scores is None else statistics.percentile_interval(scores),
        test_deviation=float(drawn.std(ddof=1)),
        calibration_error=plain_statistics.fmean(errors),
        calibrated_error=(
            plain_statistics.fmean(calibrated) if len(calibrated) == len(predictions) else None
        ),
        accuracy_at_coverage=plain_statistics.fmean(covered),
        confusion=confusion,
        per_class=tuple(sorted(per_class, key=lambda result: (result.f1, result.label))),
        hardest=_hardest(confusion, test.classes, len(predictions)),
    )
    return figures, drawn


def resampled_figures(
    predictions: Sequence[RunPredictions],
    test: TestSet,
    resampling: Resampling,
    images: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Accuracy and macro-F1 in each resampled test set [draws], means over seeds.

    `images` [draws] holds the number of images in each. Macro-F1 is None with more than
    MAX_CLASSES classes.
    """
    count = len(test.classes)
    accuracies, scores = [], []
    for item in predictions:
        predicted_classes = item.predicted
        if count > MAX_CLASSES:
            hits = resampling.sums((predicted_classes == test.labels)[:, None])
        else:
            sums = resampling.sums(statistics.class_counts(predicted_classes, test.labels, count))
            hits, actual, predicted = np.split(sums, 3, axis=1)
            scores.append(f1_scores(hits, actual, predicted).mean(axis=-1))
        accuracies.append(hits.sum(axis=1) / images)
    return np.mean(accuracies, axis=0), np.mean(scores, axis=0) if scores else None


def _hardest(
    confusion: npt.NDArray[np.int64], classes: Sequence[str], seeds: int
) -> tuple[Confusion, ...]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    actual = np.maximum(confusion.sum(axis=1), 1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:HARDEST]
    indices = [divmod(int(index), len(classes)) for index in order]
    return tuple(
        Confusion(classes[i], classes[j], wrong[i, j] / seeds, float(wrong[i, j] / actual[i]))
        for i, j in indices
        if wrong[i, j]
    )


@dataclass(frozen=True)
class TestImage:
    """A test image on which architectures fail or differ."""

    id: str
    label: str
    pixel_row: int
    """Index into the array of decoded images."""
    predictions: tuple[tuple[str, str], ...]
    """Row name and predicted class of its first seed."""


def all_wrong(analysis: Analysis) -> list[TestImage]:
    """Images that every row with statistics misclassifies with every seed, sorted by id."""
    right = correct_by_row(analysis)
    if not right:
        return []
    return images_of(
        analysis, ~np.any([row_correct.any(axis=0) for row_correct in right.values()], axis=0)
    )


def only_right(analysis: Analysis) -> dict[int, list[TestImage]]:
    """Images by row index that only this row predicts correctly, with every seed."""
    right = correct_by_row(analysis)
    images = {}
    for index, own in right.items():
        others = [other.any(axis=0) for number, other in right.items() if number != index]
        if others:
            unique = own.all(axis=0) & ~np.any(others, axis=0)
            images[index] = images_of(analysis, unique)
    return images


def correct_by_row(analysis: Analysis) -> dict[int, npt.NDArray[np.bool_]]:
    """Correctness of the predictions [seeds, n] for each row that has them."""
    if analysis.test is None:
        return {}
    labels = analysis.test.labels
    return {
        index: np.stack([item.predicted == labels for item in predictions])
        for index, predictions in enumerate(analysis.predictions)
        if predictions
    }


def images_of(analysis: Analysis, chosen: npt.NDArray[np.bool_]) -> list[TestImage]:
    """Test images of a mask [n], in the order of the test set."""
    test = analysis.test
    if test is None:
        return []
    first = [
        (row.name, predictions[0].predicted)
        for row, predictions in zip(analysis.rows, analysis.predictions, strict=True)
        if predictions
    ]
    return [
        TestImage(
            id=test.ids[index],
            label=test.classes[test.labels[index]],
            pixel_row=int(test.pixel_rows[index]),
            predictions=tuple((name, test.classes[predicted[index]]) for name, predicted in first),
        )
        for index in np.flatnonzero(chosen)
    ]
