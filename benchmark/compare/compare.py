"""Compare two runs or two studies: changes in accuracy, cost and configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.compare.config_differences import SettingChange, settings_changed
from benchmark.compare.contrast import Contrast, Contrasts, Side, adjust
from benchmark.compare.in_report import InReport, find_in_report
from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.report.collect import Comparison, collect
from benchmark.report.pairs import MARGIN
from benchmark.report.rows import Row, make_rows
from benchmark.runs.find import FinishedRun
from benchmark.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Compared:
    """Result of `bench compare`."""

    baseline: str
    new: str
    contrasts: tuple[Contrast, ...]
    only_baseline: tuple[str, ...]
    """Architectures missing from the new study, with the reason if known."""
    only_new: tuple[str, ...]
    settings: tuple[SettingChange, ...]
    of_studies: bool
    in_report: InReport | None = None
    """Result of two runs in the report of their study; None if they are not in the same report."""


def compare_runs(
    baseline: FinishedRun, new: FinishedRun, unpaired: bool = False, margin: float = MARGIN
) -> Compared:
    """Compare two finished runs; runs of one study use the p-value adjustment of its report.

    Raises ReportError if predictions cannot be read, or if the test sets differ and `unpaired` is
    not set, which compares them as independent samples.
    """
    sides = [_side_of_run(run) for run in (baseline, new)]
    contrast = Contrasts(unpaired, margin).of(f"{sides[1].name} vs. {sides[0].name}", *sides)
    in_report = find_in_report(baseline, new)
    if in_report is not None and in_report.one_run_each and not contrast.unpaired:
        pair = in_report.pair
        interval = pair.interval if in_report.sign > 0 else pair.interval.negated()
        contrast = dataclasses.replace(
            contrast,
            accuracy=dataclasses.replace(contrast.accuracy, interval=interval),
            mcnemar_adjusted=pair.mcnemar_adjusted,
            bootstrap_adjusted=pair.bootstrap_adjusted,
            adjusted_for=in_report.pairs,
        )
    return Compared(
        baseline=baseline.name,
        new=new.name,
        contrasts=(contrast,),
        only_baseline=(),
        only_new=(),
        settings=settings_changed([("", sides[0].row, sides[1].row)]),
        of_studies=False,
        in_report=in_report,
    )


def compare_studies(
    baseline: tuple[str, StudySettings],
    new: tuple[str, StudySettings],
    unpaired: bool = False,
    margin: float = MARGIN,
) -> Compared:
    """Compare the rows of two studies on their newest data, each given with its display name.

    Rows are matched by architecture and head, and by weights and precision if a study has several
    rows with that name. Raises ReportError as `compare_runs` does, and if no architecture is in
    both studies.
    """
    newest = [_newest(*item) for item in (baseline, new)]
    rows = [make_rows(comparison) for _, comparison in newest]
    matched = list(_matched(*rows))
    if not matched:
        raise ReportError(
            f"{baseline[0]} and {new[0]} have no finished architecture in common: "
            f"{_names(rows[0])} vs. {_names(rows[1])}"
        )
    contrasts = Contrasts(unpaired, margin)
    compared = []
    for name, first, second in matched:
        pairs = zip((first, second), newest, strict=True)
        sides = [_side_of_row(row, root) for row, (root, _) in pairs]
        compared.append(contrasts.of(name, *sides))
    return Compared(
        baseline=baseline[0],
        new=new[0],
        contrasts=tuple(adjust(compared)),
        only_baseline=_unmatched(rows[0], [first for _, first, _ in matched], newest[1][1]),
        only_new=_unmatched(rows[1], [second for _, _, second in matched], newest[0][1]),
        settings=settings_changed(matched),
        of_studies=True,
    )


def _side_of_run(run: FinishedRun) -> Side:
    (row,) = make_rows(Comparison([run.record], [], []))
    return Side(run.record.spec.name, row, (run.folder.path,))


def _side_of_row(row: Row, root: Path) -> Side:
    folders = tuple(RunFolder.of(root, record.spec).path for record in row.records)
    return Side(row.name, row, folders)


def _newest(name: str, study: StudySettings) -> tuple[Path, Comparison]:
    """Tracking folder and newest comparison of a study."""
    root = study.tracking.folder.absolute()
    collection = collect(study, root)
    if not collection.comparisons or not collection.comparisons[0].records:
        others = f"; found {'; '.join(collection.elsewhere)}" if collection.elsewhere else ""
        raise ReportError(f"{name}: no finished runs with these settings in {root}{others}")
    return root, collection.comparisons[0]


def _matched(first: Sequence[Row], second: Sequence[Row]) -> Iterator[tuple[str, Row, Row]]:
    for row in first:
        ours = [other for other in first if other.name == row.name]
        theirs = [other for other in second if other.name == row.name]
        if len(ours) == len(theirs) == 1:
            yield row.name, row, theirs[0]
            continue
        for other in theirs:
            if _start(other) == _start(row):
                yield f"{row.name} ({', '.join(_start(row))})", row, other


def _start(row: Row) -> tuple[str, str]:
    return row.weights, row.precision


def _unmatched(
    rows: Sequence[Row], matched: Sequence[Row], other_side: Comparison
) -> tuple[str, ...]:
    """Names of rows without a counterpart in `matched`, with their status if known."""
    failed = {failure.spec.architecture: failure for failure in other_side.failures}
    unfinished = {spec.architecture for spec in other_side.unfinished}
    names = []
    for row in rows:
        if any(row is other for other in matched):
            continue
        failure = failed.get(row.architecture)
        if failure is not None:
            names.append(f"{row.name} (failed in {failure.stage}: {failure.reason})")
        else:
            names.append(f"{row.name}{' (unfinished)' * (row.architecture in unfinished)}")
    return tuple(names)


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(row.name for row in rows)
