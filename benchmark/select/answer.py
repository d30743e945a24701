"""The answer of a selection, stored when it ends, and found again by the study it was made for."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.errors import ReportError
from benchmark.find_run import FoundRun
from benchmark.record import RunRecord
from benchmark.run_settings import comparable_settings
from benchmark.runner.run_folder import RunFolder
from benchmark.select.outcome import Outcome
from benchmark.study import StudySettings
from clothclf.settings import Settings

FOLDER = "selections"
SUFFIX = ".answer.json"


class Answer(Settings):
    """What a selection came to; run folders are relative to the tracking folder."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file without this."""
    selection: str
    """Its name."""
    study: str
    settings: str
    """Hash of the study's settings that runs must share to be compared."""
    run_id: str
    """Of the winner; of its seeds, the one with the lowest validation loss."""
    winner: str
    """Run folder."""
    finalists: tuple[str, ...]
    """Run folders, the winner's among them."""
    at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Selected:
    """A selection's answer whose winner is still there."""

    answer: Answer
    winner: FoundRun
    finalists: tuple[RunRecord, ...]
    """Finished runs of the last rung, the winner's among them."""


def keep_answer(root: Path, study: StudySettings, outcome: Outcome) -> None:
    """Store what a selection for `study` came to; does nothing without a winner."""
    rows = outcome.finalists.rows if outcome.finalists else []
    own = [item.architecture for item in outcome.selection.entrants if item.name == outcome.winner]
    won = [
        record
        for row in rows
        for entry in own
        if (row.architecture, row.image_size) == (entry.name, entry.image_size)
        for record in row.records
    ]
    if won:
        finalists = [record for row in rows for record in row.records]
        write_answer(root, study, outcome.selection.name, won, finalists)


def write_answer(
    root: Path,
    study: StudySettings,
    selection: str,
    won: Sequence[RunRecord],
    finalists: Sequence[RunRecord],
) -> None:
    """Store the answer of a selection below the tracking folder `root`; `won` are the winner's."""
    best = min(won, key=lambda record: record.training.best.valid_loss)
    answer = Answer(
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
    folder.write(f"{selection}{SUFFIX}", answer)


def find_selected(study: StudySettings) -> Selected:
    """The newest answer of a selection that was made for this study, with these settings.

    Limits, architectures and the place of the data may differ from those of the selection.
    Raises ReportError if there is none, or its winner is gone.
    """
    root = study.tracking.folder.absolute()
    answers = _answers(root, study)
    fit = [answer for answer in answers if answer.settings == _settings_hash(study)]
    if not fit:
        others = ", ".join(sorted(answer.selection for answer in answers))
        told = f" (under other settings: {others})" if others else ""
        raise ReportError(
            f"study {study.study!r} has no selection that came to an answer in {root}{told}; "
            "`bench select` with the same -c and --set makes one"
        )
    answer = max(fit, key=lambda answer: answer.at)
    folder = RunFolder(root / answer.winner)
    record = folder.record()
    if record is None:
        raise ReportError(
            f"{folder.path}: the winner of selection {answer.selection} is not there any more; "
            "the same `bench select` command runs it again"
        )
    found = (RunFolder(root / finalist).record() for finalist in answer.finalists)
    finalists = tuple(finalist for finalist in found if finalist is not None)
    return Selected(answer, FoundRun(folder, record), finalists)


def _answers(root: Path, study: StudySettings) -> list[Answer]:
    """All that were made for a study of this name; what is not as it was written is left out."""
    folder = RunFolder(root / FOLDER)
    names = [path.name for path in folder.path.glob(f"*{SUFFIX}")]
    answers = [folder.read(name, Answer, checked=False) for name in names]
    return [answer for answer in answers if answer is not None and answer.study == study.study]


def _settings_hash(study: StudySettings) -> str:
    text = json.dumps(comparable_settings(study), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _relative(record: RunRecord, root: Path) -> str:
    return RunFolder.of(root, record.spec).path.relative_to(root).as_posix()
