"""Store the result of a selection, and find it again for its study."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs.find import FinishedRun
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.setting_differences import comparable_settings
from benchmark.select.outcome import Outcome
from clothclf.settings import Settings

FOLDER = "selections"
SUFFIX = ".result.json"
FORMER_SUFFIX = ".answer.json"


class SelectionResult(Settings):
    """Result of a selection; run folders are relative to the tracking folder."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file without this."""
    selection: str
    """Name of the selection."""
    study: str
    settings: str
    """Hash of the study's settings that comparable runs must share."""
    run_id: str
    """Run of the winner; with several seeds, the one with the lowest validation loss."""
    winner: str
    """Run folder of the winner."""
    finalists: tuple[str, ...]
    """Run folders of the finalists, including the winner."""
    at: str
    """Time in UTC, ISO 8601."""


@dataclass(frozen=True)
class Selected:
    """Result of a selection whose winner still exists."""

    result: SelectionResult
    winner: FinishedRun
    finalists: tuple[RunRecord, ...]
    """Finished runs of the last rung, including the winner's."""


def store_result(root: Path, study: StudySettings, outcome: Outcome) -> None:
    """Store the result of a selection for `study`; does nothing without a winner."""
    rows = outcome.finalists.rows if outcome.finalists else []
    own = [
        item.architecture for item in outcome.selection.candidates if item.name == outcome.winner
    ]
    won = [
        record
        for row in rows
        for entry in own
        if (row.architecture, row.image_size) == (entry.name, entry.image_size)
        for record in row.records
    ]
    if won:
        finalists = [record for row in rows for record in row.records]
        write_result(root, study, outcome.selection.name, won, finalists)


def write_result(
    root: Path,
    study: StudySettings,
    selection: str,
    won: Sequence[RunRecord],
    finalists: Sequence[RunRecord],
) -> None:
    """Store a result below the tracking folder `root`; `won` are the runs of the winner."""
    best = min(won, key=lambda record: record.training.best.valid_loss)
    result = SelectionResult(
        selection=selection,
        study=study.study,
        settings=_settings_hash(study),
        run_id=best.run_id,
        winner=_relative(best, root),
        finalists=tuple(_relative(record, root) for record in finalists),
        at=datetime.datetime.now(datetime.timezone.utc).isoformat(),
    )
    folder = RunFolder(root / FOLDER)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(f"{selection}{SUFFIX}", result)


def find_selected(study: StudySettings) -> Selected:
    """Find the newest result of a selection for this study with the same settings.

    Limits, architectures and the location of the data may differ from those of the selection.
    Raises ReportError if there is none, or its winner no longer exists.
    """
    root = study.tracking.folder.absolute()
    results = _stored_results(root, study)
    fit = [result for result in results if result.settings == _settings_hash(study)]
    if not fit:
        others = ", ".join(sorted(result.selection for result in results))
        hint = f" (with other settings: {others})" if others else ""
        raise ReportError(
            f"study {study.study!r} has no completed selection in {root}{hint}; "
            "run `bench select` with the same -c and --set"
        )
    result = max(fit, key=lambda result: result.at)
    folder = RunFolder(root / result.winner)
    record = folder.record()
    if record is None:
        raise ReportError(
            f"{folder.path}: the winner of selection {result.selection} no longer exists; "
            "run the same `bench select` command again"
        )
    records = (RunFolder(root / finalist).record() for finalist in result.finalists)
    finalists = tuple(finalist for finalist in records if finalist is not None)
    return Selected(result, FinishedRun(folder, record), finalists)


def _stored_results(root: Path, study: StudySettings) -> list[SelectionResult]:
    """Results for studies of this name; unreadable and damaged files are skipped."""
    folder = RunFolder(root / FOLDER)
    paths = (path for end in (SUFFIX, FORMER_SUFFIX) for path in folder.path.glob(f"*{end}"))
    names = [path.name for path in paths]
    results = [folder.read(name, SelectionResult, checked=False) for name in names]
    return [result for result in results if result is not None and result.study == study.study]


def _settings_hash(study: StudySettings) -> str:
    settings = comparable_settings(study)
    # The hash keeps the first names of keys, by which results of earlier versions are found.
    data = settings["data"]
    data["picture"] = data.pop("image")
    data["split"]["keep_twins_together"] = data["split"].pop("keep_exact_duplicates_together")
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _relative(record: RunRecord, root: Path) -> str:
    return RunFolder.of(root, record.spec).path.relative_to(root).as_posix()
