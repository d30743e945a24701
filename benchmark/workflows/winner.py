"""Find the run to use: the one that the user names, else the study's pick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.report.rows import Row
from benchmark.runs.find import FinishedRun, find_run
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder


def find_winner(
    requested: str | None,
    study: Callable[[], StudySettings],
    config: Path,
    from_select: bool = False,
) -> tuple[FinishedRun, str]:
    """Find the run `requested`, or the pick of the study's report; return it with the reason.

    With `from_select`, or if the study has no finished run of its own, use the winner of the
    study's latest selection. The pick is chosen on validation; of several seeds, the run
     with the lowest validation loss is used. Raises ReportError if there is no such run, or its
    model is damaged.
    """
    if requested is not None:
        run, why = find_run(requested, study), "as requested"
    elif from_select:
        run, why = _selected(study())
    else:
        run, why = _pick(study(), config)
    run.require_model()
    return run, why


def find_rows(study: StudySettings, config: Path, front: bool) -> list[FinishedRun]:
    """Find one run of each finished architecture, or of each on the Pareto front.

    Of several seeds, it is the one with the lowest validation loss. Raises ReportError if there is
    none.
    """
    from benchmark.report.write import read_report

    analysis = read_report(study, config).analyses[0]
    rows = analysis.pick.front if front and analysis.pick is not None else analysis.rows
    if not rows:
        raise ReportError(f"study {study.study!r} has no finished run; run it first")
    return [_best_seed(study, row) for row in rows]


def _best_seed(study: StudySettings, row: Row) -> FinishedRun:
    record = min(row.records, key=_valid_loss)
    return FinishedRun(RunFolder.of(study.tracking.folder.absolute(), record.spec), record)


def _pick(study: StudySettings, config: Path) -> tuple[FinishedRun, str]:
    from benchmark.report.write import read_report

    try:
        report = read_report(study, config)
    except ReportError as error:
        return _selected_or(error, study)
    pick = report.analyses[0].pick
    row = pick.chosen if pick is not None else None
    if row is None:
        none = ReportError(
            f"study {study.study!r} has no finished run to pick; run it first, or give a run with "
            "--run"
        )
        if any(analysis.rows for analysis in report.analyses):
            raise none
        return _selected_or(none, study)
    seeds = len(row.records)
    of_seeds = (
        f"; of its {seeds} seeds, the one with the lowest validation loss" if seeds > 1 else ""
    )
    return _best_seed(study, row), f"the pick of study {study.study}{of_seeds}"


def _selected(study: StudySettings) -> tuple[FinishedRun, str]:
    from benchmark.select.selection_result import find_selected

    selected = find_selected(study)
    return selected.winner, f"the winner of selection {selected.result.selection}"


def _selected_or(error: ReportError, study: StudySettings) -> tuple[FinishedRun, str]:
    """Winner of the latest selection; raises `error` if no selection has a result."""
    try:
        return _selected(study)
    except ReportError:
        raise error from None


def _valid_loss(record: RunRecord) -> float:
    return record.training.best.valid_loss
