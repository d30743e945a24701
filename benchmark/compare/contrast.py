"""Compare one architecture on two sides: change in accuracy and its significance."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.compare.costs import CostChange, cost_changes
from benchmark.errors import ReportError
from benchmark.report import statistics
from benchmark.report.analysis import resampled_figures
from benchmark.report.pairs import (
    MARGIN,
    Verdict,
    compare_pairs,
    judged_interval,
    seed_variance,
    verdict_of,
)
from benchmark.report.predictions import RunPredictions, TestSet, read_run, read_test_set
from benchmark.report.rows import Row
from benchmark.report.statistics import Interval, Resampling

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """Finished runs of one architecture on one side, with one folder for each record."""

    name: str
    row: Row
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Change:
    """One score of the baseline and of the new side, 0 to 1."""

    baseline: float
    new: float
    interval: Interval | None
    """Confidence interval of the difference; None for macro-F1 with very many classes."""

    @property
    def difference(self) -> float:
        """New minus baseline."""
        return self.new - self.baseline


@dataclass(frozen=True)
class Contrast:
    """Comparison of one architecture on both sides, or of two runs."""

    name: str
    baseline: Side
    new: Side
    images: tuple[int, int]
    """Number of test images of the baseline and of the new side."""
    unpaired: str
    """Reason why the sides are compared as independent samples; empty if paired."""
    accuracy: Change
    macro_f1: Change
    only_baseline: float | None
    """Images that only the baseline predicts correctly, mean over seeds; None if unpaired."""
    only_new: float | None
    mcnemar_p: float | None
    """Exact McNemar test, not adjusted; None if unpaired."""
    bootstrap_p: float
    mcnemar_adjusted: float | None
    """Adjusted for `adjusted_for` tests (Holm)."""
    bootstrap_adjusted: float
    """Adjusted for the same tests (max-T); includes the variation of several seeds."""
    margin: float
    """Margin of equivalence, 0 to 1."""
    costs: tuple[CostChange, ...]
    drawn: Floats = dataclasses.field(repr=False)
    """Difference in accuracy in each resampled test set [draws]."""
    adjusted_for: int = 1
    """Number of tests in the adjustment: pairs of the study's report, or architectures."""

    @property
    def p(self) -> float:
        """Larger of both adjusted p-values: a difference must be significant in both tests."""
        return max(self.mcnemar_adjusted or 0.0, self.bootstrap_adjusted)

    @property
    def verdict(self) -> Verdict:
        """`apart`, `equivalent` (within the margin) or `undecided`, from the interval."""
        if self.accuracy.interval is None:
            return "undecided"
        return verdict_of(self.accuracy.interval, self.margin)


def adjust(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Adjust intervals, p-values and verdicts for the number of contrasts."""
    differences = statistics.simultaneous_differences(
        [item.accuracy.difference for item in contrasts],
        [item.drawn for item in contrasts],
        [seed_variance(item.baseline.row, item.new.row) for item in contrasts],
    )
    exact = iter(statistics.holm([p for item in contrasts if (p := item.mcnemar_p) is not None]))
    adjusted = []
    for item, difference in zip(contrasts, differences, strict=True):
        mcnemar = None if item.mcnemar_p is None else next(exact)
        interval = judged_interval(difference, mcnemar)
        adjusted.append(
            dataclasses.replace(
                item,
                accuracy=dataclasses.replace(item.accuracy, interval=interval),
                mcnemar_adjusted=mcnemar,
                bootstrap_adjusted=difference.p,
                adjusted_for=len(contrasts),
            )
        )
    return adjusted


class Contrasts:
    """Compares sides; resamples each test set only once."""

    def __init__(self, unpaired: bool, margin: float = MARGIN) -> None:
        self._unpaired = unpaired
        self._margin = margin
        self._resamplings: dict[tuple[int, bytes], tuple[Resampling, Floats]] = {}

    def of(self, name: str, baseline: Side, new: Side) -> Contrast:
        """Compare two sides.

        Raises ReportError if predictions cannot be read, or if the test sets differ and unpaired
        comparison is not allowed.
        """
        (test, ours), (other_test, theirs) = _read(baseline), _read(new)
        difference = describe_test_set_difference(test, other_test)
        if difference and not self._unpaired:
            raise ReportError(
                f"{baseline.name} and {new.name} have different test images ({difference}), so "
                "their predictions cannot be paired; --unpaired compares them as independent "
                "samples"
            )
        drawn, scores = self._draw(ours, test, 0)
        new_drawn, new_scores = self._draw(theirs, other_test, int(bool(difference)))
        f1 = None if scores is None or new_scores is None else new_scores - scores
        contrast = Contrast(
            name=name,
            baseline=baseline,
            new=new,
            images=(len(test), len(other_test)),
            unpaired=difference,
            accuracy=_change(baseline.row.accuracy, new.row.accuracy, new_drawn - drawn),
            macro_f1=_change(baseline.row.macro_f1, new.row.macro_f1, f1),
            only_baseline=None,
            only_new=None,
            mcnemar_p=None,
            bootstrap_p=statistics.bootstrap_p(
                new.row.accuracy - baseline.row.accuracy, new_drawn - drawn
            ),
            mcnemar_adjusted=None,
            bootstrap_adjusted=1.0,
            margin=self._margin,
            costs=cost_changes(baseline.row, new.row),
            drawn=new_drawn - drawn,
        )
        if not difference:
            both = [tuple(theirs), tuple(ours)]
            pairs = compare_pairs([new.row, baseline.row], both, test, {0: new_drawn, 1: drawn})
            contrast = dataclasses.replace(
                contrast,
                only_baseline=pairs[0, 1].only_second,
                only_new=pairs[0, 1].only_first,
                mcnemar_p=pairs[0, 1].mcnemar_p,
            )
        return adjust([contrast])[0]

    def _draw(
        self, predictions: Sequence[RunPredictions], test: TestSet, seed: int
    ) -> tuple[Floats, Floats | None]:
        """Resampled accuracy and macro-F1; different seeds draw independently."""
        key = (seed, test.groups.tobytes())
        if key not in self._resamplings:
            resampling = Resampling(test.groups, seed=statistics.SEED + seed)
            self._resamplings[key] = resampling, resampling.sizes()
        return resampled_figures(predictions, test, *self._resamplings[key])


def _change(baseline: float, new: float, drawn: Floats | None) -> Change:
    interval = None if drawn is None else statistics.percentile_interval(drawn)
    return Change(baseline, new, interval)


def describe_test_set_difference(one: TestSet, other: TestSet) -> str:
    """Describe how two test sets differ; empty if they are the same images."""
    if one.classes != other.classes:
        return f"{len(one.classes)} and {len(other.classes)} classes, not identical"
    if one.ids != other.ids:
        common = len(set(one.ids) & set(other.ids))
        return f"{len(one):,} and {len(other):,} images, {common:,} of them with the same ids"
    if not np.array_equal(one.labels, other.labels):
        return f"{int((one.labels != other.labels).sum()):,} of {len(one):,} have different labels"
    pairs = zip(one.pixel_hashes, other.pixel_hashes, strict=True)
    changed = sum(ours != theirs for ours, theirs in pairs)
    return f"{changed:,} of {len(one):,} have different pixels" if changed else ""


def _read(side: Side) -> tuple[TestSet, list[RunPredictions]]:
    """Read a side's predictions; raises ReportError if files are not as their run wrote them."""
    test = read_test_set(side.folders[0], side.row.records[0])
    both = zip(side.folders, side.row.records, strict=True)
    return test, [read_run(folder, record, test) for folder, record in both]
