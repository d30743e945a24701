"""Find and check the teacher runs of a study, for distillation."""

from __future__ import annotations

import pandas as pd

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs import run_folder as files
from benchmark.runs.find import FinishedRun, find_run, without_teacher
from benchmark.runs.spec import TeacherRun
from clothclf.data.dataset import DataSet
from clothclf.errors import SettingsError


def find_teachers(study: StudySettings, data: DataSet) -> tuple[TeacherRun, ...]:
    """Find the runs in `train.teacher.runs`.

    Raises SettingsError if a run does not exist, has different classes, or was trained on images
    of this study's validation or test split, which would leak through its predictions.
    """
    teachers = []
    for name in study.train.teacher.runs:
        try:
            teacher = find_run(name, lambda: without_teacher(study))
            teacher.require_model()
        except ReportError as error:
            raise SettingsError(f"train.teacher.runs: {error}") from None
        if problem := _problem(teacher, data):
            raise SettingsError(f"train.teacher.runs: {teacher.name} {problem}")
        teachers.append(
            TeacherRun(run_id=teacher.record.run_id, folder=teacher.folder.path.absolute())
        )
    return tuple(teachers)


def _problem(teacher: FinishedRun, data: DataSet) -> str:
    """Reason why a run cannot be a teacher, to follow its name; empty if it can."""
    if teacher.record.spec.data_summary.classes != data.summary.classes:
        return "has different classes than the study; a teacher must have the same classes"
    manifest = data.manifest
    held_out = set(manifest["pixel_hash"][manifest["split"] != "train"])
    if not teacher.has(files.MANIFEST):
        return f"cannot be a teacher: its {files.MANIFEST} is not as the run wrote it"
    own = pd.read_parquet(teacher.folder.path / files.MANIFEST)
    leaked = held_out & set(own["pixel_hash"][own["split"] == "train"])
    if leaked:
        return (
            f"was trained on {len(leaked):,} images of this study's validation or test split, "
            "which would leak through its predictions; use a teacher with the same split"
        )
    return ""
