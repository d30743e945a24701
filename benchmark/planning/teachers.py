"""Finished runs that teach others: found as the study names them, and checked for it."""

from __future__ import annotations

import pandas as pd

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs import folder as files
from benchmark.runs.find import FoundRun, find_run, without_teacher
from benchmark.runs.spec import TeacherRun
from clothclf.data.dataset import DataSet
from clothclf.errors import SettingsError


def find_teachers(study: StudySettings, data: DataSet) -> tuple[TeacherRun, ...]:
    """The runs that `train.teacher.runs` names.

    Raises SettingsError where there is no such run, its classes are others, or it was trained on
    images that are kept from training here: its answers would tell of them.
    """
    found = []
    for asked in study.train.teacher.runs:
        try:
            teacher = find_run(asked, lambda: without_teacher(study))
            teacher.require_model()
        except ReportError as error:
            raise SettingsError(f"train.teacher.runs: {error}") from None
        if fault := _problem(teacher, data):
            raise SettingsError(f"train.teacher.runs: {teacher.name} {fault}")
        found.append(
            TeacherRun(run_id=teacher.record.run_id, folder=teacher.folder.path.absolute())
        )
    return tuple(found)


def _problem(teacher: FoundRun, data: DataSet) -> str:
    """Why a run cannot teach this study, in words that follow its name; else empty."""
    if teacher.record.spec.data_summary.classes != data.summary.classes:
        return "has other classes than the study; a teacher must have the same"
    manifest = data.manifest
    kept_back = set(manifest["pixel_hash"][manifest["split"] != "train"])
    try:
        own = pd.read_parquet(teacher.folder.path / files.MANIFEST)
    except (OSError, ValueError) as error:
        return f"cannot teach: its {files.MANIFEST} cannot be read: {error}"
    seen = kept_back & set(own["pixel_hash"][own["split"] == "train"])
    if seen:
        return (
            f"was trained on {len(seen):,} images that this study validates or tests with: its "
            "answers would tell of them; teach by a run of the same split"
        )
    return ""
