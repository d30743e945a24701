"""Accuracy before and after `data.corrections`: runs on the data as given, paired by image."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from benchmark.errors import ReportError
from benchmark.report.pairs import MARGIN, Verdict, judged_interval, verdict_of
from benchmark.report.pick import margin_text
from benchmark.report.predictions import RunPredictions, TestSet, read_run, read_test_set
from benchmark.report.sections import Section, SectionTable
from benchmark.report.statistics import (
    Difference,
    Floats,
    Interval,
    Resampling,
    SeedVariance,
    holm,
    mcnemar_of,
    median_p,
    simultaneous_differences,
)
from benchmark.runs.find import FinishedRun, find_same_run
from clothclf.data.splits import SPLIT_TITLES
from clothclf.results import DataSummary

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.report.analysis import Analysis

TITLE = "Accuracy before and after the corrections"
COLUMNS = (
    "architecture",
    "before",
    "after",
    "difference (points)",
    "95 % CI",
    "verdict",
    "before, by the labels as given",
)

Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CorrectedRow:
    """A row's runs on the data as given and as corrected, both judged by the corrected labels."""

    name: str
    seeds: tuple[int, ...]
    """Seeds with a run on both."""
    before: float
    """Accuracy of the runs on the data as given, 0 to 1; mean over seeds."""
    after: float
    as_given: float
    """Accuracy of the runs on the data as given by the labels as given, on all test images."""
    interval: Interval
    """95 % interval of `after` - `before`; the intervals of all rows hold together."""
    verdict: Verdict

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True)
class Corrections:
    """What `data.corrections` changed, and what that did to each row."""

    summary: DataSummary
    images: int
    """Number of test images, which are in the data as given, too."""
    margin: float
    rows: tuple[CorrectedRow, ...]
    missing: tuple[str, ...]
    """Names of rows without a run on the data as given."""
    errors: tuple[str, ...]
    """Why runs cannot be read."""

    def of(self, name: str) -> CorrectedRow | None:
        """Return the result of a row, if it has one."""
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True)
class _Paired:
    """Correctness [seeds, n] of one row's runs before and after, by the corrected labels."""

    name: str
    seeds: tuple[int, ...]
    before: Correct
    after: Correct
    as_given: float


def read_corrections(analysis: Analysis) -> Corrections | None:
    """Find and compare the runs on the data as given; None unless corrections changed the data."""
    summary, test = analysis.comparison.specs[0].data_summary, analysis.test
    if not summary.uncorrected_fingerprint or test is None:
        return None
    paired: list[_Paired] = []
    missing: list[str] = []
    errors: list[str] = []
    for row, predictions in zip(analysis.rows, analysis.predictions, strict=True):
        originals = [
            (before, after)
            for after in predictions
            if (before := _run_before(analysis.root, after)) is not None
        ]
        if not originals:
            missing += [row.name] if predictions else []
            continue
        try:
            paired.append(_pair(row.name, originals, test))
        except ReportError as error:
            errors.append(f"{row.name}: {error}")
    margin = analysis.pick.criteria.margin / 100 if analysis.pick else MARGIN
    rows = _judged(paired, Resampling(test.groups), margin) if paired else ()
    return Corrections(summary, len(test), margin, rows, tuple(missing), tuple(errors))


def _run_before(root: Path, after: RunPredictions) -> FinishedRun | None:
    """The finished run that differs from this one only in that its data are as given."""
    spec = after.record.spec
    summary = dataclasses.replace(
        spec.data_summary, fingerprint=spec.data_summary.uncorrected_fingerprint
    )
    return find_same_run(root, spec.model_copy(update={"data_summary": summary}))


def _pair(name: str, runs: Sequence[tuple[FinishedRun, RunPredictions]], test: TestSet) -> _Paired:
    """Align the predictions before and after by image; raises ReportError."""
    first, _ = runs[0]
    given = read_test_set(first.folder.path, first.record)
    positions = {image_id: index for index, image_id in enumerate(given.ids)}
    if given.classes != test.classes or not positions.keys() >= set(test.ids):
        raise ReportError(
            f"{first.folder.path}: its test images or classes differ from those of the corrected "
            "run; `bench run` repeats the run"
        )
    indices = np.array([positions[image_id] for image_id in test.ids])
    before = [read_run(run.folder.path, run.record, given).predicted for run, _ in runs]
    return _Paired(
        name,
        tuple(run.record.spec.seed for run, _ in runs),
        np.stack([predicted[indices] == test.labels for predicted in before]),
        np.stack([predictions.predicted == test.labels for _, predictions in runs]),
        statistics.fmean(float((predicted == given.labels).mean()) for predicted in before),
    )


def _judged(
    paired: Sequence[_Paired], resampling: Resampling, margin: float
) -> tuple[CorrectedRow, ...]:
    """Differences with intervals that hold together, and verdicts."""
    images = resampling.sizes()
    differences = simultaneous_differences(
        [float(item.after.mean() - item.before.mean()) for item in paired],
        [_drawn(item, resampling, images) for item in paired],
        [_seed_variance(item) for item in paired],
    )
    exact = holm(
        [
            median_p([mcnemar_of(*both) for both in zip(item.after, item.before, strict=True)])
            for item in paired
        ]
    )
    return tuple(map(_row, paired, differences, exact, [margin] * len(paired)))


def _row(item: _Paired, difference: Difference, mcnemar: float, margin: float) -> CorrectedRow:
    interval = judged_interval(difference, mcnemar)
    return CorrectedRow(
        item.name,
        item.seeds,
        float(item.before.mean()),
        float(item.after.mean()),
        item.as_given,
        interval,
        verdict_of(interval, margin),
    )


def _drawn(item: _Paired, resampling: Resampling, images: Floats) -> Floats:
    """Difference in accuracy in each resampled test set [draws]."""
    gained = item.after.astype(np.int64) - item.before
    drawn: Floats = (resampling.sums(gained.T) / images[:, None]).mean(axis=1)
    return drawn


def _seed_variance(item: _Paired) -> SeedVariance | None:
    count = len(item.seeds)
    if count < 2:
        return None
    deviations = [float(side.mean(axis=1).std(ddof=1)) for side in (item.before, item.after)]
    return SeedVariance.of(deviations, [count, count])


def section(analysis: Analysis) -> Section | None:
    """Accuracies before and after by row; None unless `data.corrections` changed the data."""
    corrections = analysis.corrections
    if corrections is None:
        return None
    lead = [_changes(corrections.summary)]
    if corrections.rows:
        lead.append(
            "Runs before (on the data as given) and after are both judged by the corrected labels, "
            f"on the {corrections.images:,} test images that both have; the difference is after "
            "minus before. Labels that follow a model's suggestions favor architectures that "
            "predict like it."
        )
        if any(len(row.seeds) == 1 for row in corrections.rows):
            lead.append("With one seed, the intervals do not include the variation between seeds.")
    if corrections.missing:
        lead.append(
            f"No finished run before the corrections: {', '.join(corrections.missing)}. To "
            "compare, run the same study without them (--set data.corrections=null), in the same "
            "tracking folder."
        )
    table = SectionTable(
        TITLE, COLUMNS, [_cells(row, corrections.margin) for row in corrections.rows]
    )
    values = {
        "labels_corrected": corrections.summary.labels_corrected,
        "images_excluded": corrections.summary.images_excluded,
        "uncorrected_fingerprint": corrections.summary.uncorrected_fingerprint,
        "test_images": corrections.images,
        "rows": {row.name: _values(row) for row in corrections.rows},
        "missing": list(corrections.missing),
        "errors": list(corrections.errors),
    }
    text = " ".join([*lead, *corrections.errors])
    return Section(text, [table] if corrections.rows else (), for_papers=True, values=values)


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded values of a row; empty without a run before the corrections."""
    corrections = analysis.corrections
    row = corrections and corrections.of(analysis.rows[index].name)
    if not row:
        return {}
    return {
        "test_accuracy_before_corrections": row.before,
        "corrections_difference": row.difference,
        "corrections_difference_low": row.interval.low,
        "corrections_difference_high": row.interval.high,
    }


def _values(row: CorrectedRow) -> dict[str, object]:
    return dataclasses.asdict(row) | {"difference": row.difference}


def _changes(summary: DataSummary) -> str:
    """State how many labels and images were changed in each split."""
    parts = [
        f"{done} {_by_split(counts)}"
        for done, counts in (
            ("changed the labels of", summary.labels_corrected),
            ("excluded", summary.images_excluded),
        )
        if counts
    ]
    return f"data.corrections {' and '.join(parts)}."


def _by_split(counts: Mapping[str, int]) -> str:
    known = [f"{counts[split]:,} {name}" for split, name in SPLIT_TITLES.items() if split in counts]
    listed = ", ".join(known[:-1]) + " and " * (len(known) > 1) + known[-1]
    return f"{listed} image{'' if sum(counts.values()) == 1 else 's'}"


def _cells(row: CorrectedRow, margin: float) -> list[str]:
    is_equivalent = row.verdict == "equivalent"
    return [
        row.name,
        f"{100 * row.before:.2f} %",
        f"{100 * row.after:.2f} %",
        f"{100 * row.difference:+.2f}",
        f"{100 * row.interval.low:+.2f} to {100 * row.interval.high:+.2f}",
        f"equivalent within {margin_text(margin)}" if is_equivalent else row.verdict,
        f"{100 * row.as_given:.2f} %",
    ]
