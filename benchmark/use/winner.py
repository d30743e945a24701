"""Which run is put to use: the one that the user names, else the study's pick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmark.errors import ReportError
from benchmark.find_run import FoundRun, find_run
from benchmark.record import RunRecord
from benchmark.runner.run_folder import RunFolder
from benchmark.study import StudySettings


def find_winner(
    asked: str | None, study: Callable[[], StudySettings], config: Path
) -> tuple[FoundRun, str]:
    """The run that is `asked` for, or the pick of the study's report; and why it was taken.

    The pick ranks architectures by test accuracy; of its several seeds the one with the lowest
    validation loss is taken. Raises ReportError where there is no such run, or its model is not
    whole.
    """
    if asked is not None:
        found, why = find_run(asked, study), "as asked"
    else:
        found, why = _pick(study(), config)
    found.require_model()
    return found, why


def _pick(study: StudySettings, config: Path) -> tuple[FoundRun, str]:
    from benchmark.report.write import make_report

    report = make_report(study, config)
    pick = report.analyses[0].pick
    row = pick.trade_off if pick is not None else None
    if row is None:
        raise ReportError(
            f"study {study.study!r} has no finished run to pick; run it first, or name one: --run"
        )
    record = min(row.records, key=_valid_loss)
    folder = RunFolder.of(study.tracking.folder.absolute(), record.spec)
    seeds = len(row.records)
    of_seeds = f"; of its {seeds} seeds, that of the lowest validation loss" if seeds > 1 else ""
    return FoundRun(folder, record), f"the pick of study {study.study}{of_seeds}"


def _valid_loss(record: RunRecord) -> float:
    return record.training.best.valid_loss
