"""Robustness in a report: accuracy on corrupted test images, and whether the pick holds."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import ReportError
from benchmark.report.pick_rule import Rule
from benchmark.report.predictions import TestSet, read_test_set
from benchmark.report.rows import Row
from benchmark.report.sections import Section, SectionChart, SectionTable
from benchmark.report.statistics import Floats, Interval, Resampling, percentile_interval
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.stress_results import StressResult, StressResults

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

Condition = tuple[str, int]
"""Corruption and severity."""
CHART = SectionChart(
    "stress",
    "Accuracy by severity of corruption",
    "mean over corruptions; severity 0 is the test split itself",
    "benchmark.report.charts.stress",
)


@dataclass(frozen=True)
class RowStress:
    """Results of one row: those of its first run that has some."""

    row: Row
    clean: float
    """Test accuracy of the same run without corruption, 0 to 1."""
    results: Mapping[Condition, StressResult]
    accuracies: Mapping[Condition, float]
    """Test accuracy under each condition, 0 to 1."""

    def mean(self, conditions: Sequence[Condition]) -> float:
        """Mean accuracy over conditions."""
        return statistics.fmean(self.accuracies[condition] for condition in conditions)


@dataclass(frozen=True)
class Stressed:
    """Results of all rows that have some."""

    rows: tuple[RowStress, ...]
    errors: tuple[str, ...]
    """Why results cannot be read."""

    def of(self, row: Row) -> RowStress | None:
        """Return the results of a row, if it has some."""
        return next((item for item in self.rows if item.row is row), None)


def read_stress(rows: Sequence[Row], root: Path) -> Stressed:
    """Read the results of rows whose runs are below the tracking folder `root`."""
    rows_: list[RowStress] = []
    errors: list[str] = []
    for row in rows:
        for record in row.records:
            try:
                results, test = _read(RunFolder.of(root, record.spec).path, record)
            except ReportError as error:
                errors.append(str(error))
                continue
            if test is not None:
                accuracies = _accuracies(results, test)
                rows_.append(RowStress(row, record.test.accuracy, results, accuracies))
                break
    return Stressed(tuple(rows_), tuple(errors))


def read_accuracies(folder: Path, record: RunRecord) -> dict[Condition, float]:
    """Test accuracy of one run under each stored condition, 0 to 1; raises ReportError."""
    results, test = _read(folder, record)
    return {} if test is None else _accuracies(results, test)


def _read(folder: Path, record: RunRecord) -> tuple[dict[Condition, StressResult], TestSet | None]:
    results = StressResults(folder, record.run_id, record.spec.data_summary.images["test"]).all()
    return results, read_test_set(folder, record) if results else None


def _accuracies(results: Mapping[Condition, StressResult], test: TestSet) -> dict[Condition, float]:
    return {
        condition: float((result.predicted == test.labels).mean())
        for condition, result in results.items()
    }


def shared_conditions(rows: Sequence[RowStress]) -> list[Condition]:
    """Conditions that all rows have, in the order of the first."""
    return [
        condition
        for condition in (rows[0].results if rows else ())
        if all(condition in item.results for item in rows)
    ]


def section(analysis: Analysis) -> Section | None:
    """Accuracies by row, and whether the pick holds; None unless runs were stressed."""
    rows, errors = analysis.stress.rows, analysis.stress.errors
    conditions = shared_conditions(rows)
    if not conditions or analysis.test is None:
        return Section(" ".join(errors)) if errors else None
    drawn = _drawn(rows, conditions, analysis.test)
    intervals = [percentile_interval(values) for values in drawn]
    kinds = list(dict.fromkeys(corruption for corruption, _ in conditions))
    columns = ("architecture", "clean", "corrupted, mean", "95 % CI", "relative", "worst")
    tables = [
        SectionTable(
            "Robustness to corruptions",
            columns,
            [_cells(*it, conditions, kinds) for it in zip(rows, intervals, strict=True)],
            [*_notes(analysis, rows), *errors],
        ),
        SectionTable(
            "Accuracy by corruption",
            ("corruption", *(item.row.name for item in rows)),
            [[kind.replace("_", " "), *_by_kind(rows, conditions, kind)] for kind in kinds],
        ),
    ]
    values = {
        item.row.name: {f"{kind}-{severity}": value for (kind, severity), value in known}
        for item in rows
        for known in [item.accuracies.items()]
    }
    lead = f"{_what(conditions, kinds)} {_verdict(analysis, rows, conditions, drawn)}"
    return Section(lead.rstrip(), tables, [CHART], for_papers=True, values=values)


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Mean accuracy of a row under corruption; empty unless it was stressed."""
    row = analysis.stress.of(analysis.rows[index])
    if row is None:
        return {}
    mean = statistics.fmean(row.accuracies.values())
    return {
        "corrupted_accuracy": mean,
        "relative_robustness": mean / row.clean if row.clean else None,
        "corruptions": len(row.accuracies),
    }


def _what(conditions: Sequence[Condition], kinds: Sequence[str]) -> str:
    severities = sorted({severity for _, severity in conditions})
    at = "at severity" if len(severities) == 1 else "at severities"
    listed = ", ".join(map(str, severities))
    return (
        f"The same test images under {len(conditions)} conditions: {len(kinds)} corruptions of "
        f"ImageNet-C's families, {at} {listed} of 5. Nothing is trained. Relative robustness is "
        "the mean accuracy under corruption divided by the clean one."
    )


def _drawn(rows: Sequence[RowStress], conditions: Sequence[Condition], test: TestSet) -> Floats:
    """Mean accuracy of each row in each resampled test set [rows, draws]."""
    resampling = Resampling(test.groups)
    images = resampling.sizes()
    drawn = []
    for item in rows:
        right = sum(
            (item.results[condition].predicted == test.labels).astype(np.int64)
            for condition in conditions
        )
        counts = np.asarray(right).reshape(-1, 1)
        drawn.append(resampling.sums(counts)[:, 0] / images / len(conditions))
    return np.stack(drawn)


def _verdict(
    analysis: Analysis,
    stressed: Sequence[RowStress],
    conditions: Sequence[Condition],
    drawn: Floats,
) -> str:
    """State whether the rule picks the same architecture by accuracy under corruption."""
    pick = analysis.pick
    rows = [item.row for item in stressed]
    if pick is None or pick.chosen not in rows or len(rows) < 2:
        return ""
    rule = Rule(rows, dataclasses.replace(pick.criteria, min_accuracy=None))
    means = np.array([[item.mean(conditions)] for item in stressed])
    (chosen,) = rule.choose(means)
    share = float((rule.choose(drawn) == chosen).mean())
    sure = f"in {100 * share:.0f} % of resampled test sets"
    if rows[chosen] is pick.chosen:
        return (
            f"The pick holds: by mean accuracy under corruption, the same rule picks it ({sure})."
        )
    return (
        f"The pick does not hold: by mean accuracy under corruption, the same rule picks "
        f"{rows[chosen].name} ({sure})."
    )


def _cells(
    item: RowStress, interval: Interval, conditions: Sequence[Condition], kinds: Sequence[str]
) -> list[str]:
    mean = item.mean(conditions)
    by_kind = {kind: _mean_of(item, conditions, kind) for kind in kinds}
    worst = min(by_kind, key=lambda kind: by_kind[kind])
    return [
        item.row.name,
        f"{100 * item.clean:.2f} %",
        f"{100 * mean:.2f} %",
        f"{100 * interval.low:.2f} to {100 * interval.high:.2f}",
        f"{100 * mean / item.clean:.1f} %" if item.clean else "-",
        f"{worst.replace('_', ' ')} ({100 * by_kind[worst]:.1f} %)",
    ]


def _by_kind(rows: Sequence[RowStress], conditions: Sequence[Condition], kind: str) -> list[str]:
    return [f"{100 * _mean_of(item, conditions, kind):.2f} %" for item in rows]


def _mean_of(item: RowStress, conditions: Sequence[Condition], kind: str) -> float:
    return item.mean([condition for condition in conditions if condition[0] == kind])


def _notes(analysis: Analysis, stressed: Sequence[RowStress]) -> list[str]:
    known = {item.row.name for item in stressed}
    missing = [row.name for row in analysis.rows if row.name not in known]
    if not missing:
        return []
    return [f"Not stressed: {', '.join(missing)}; run `bench stress`."]
