"""Finished runs that teach others: found as the study names them, and seen to be fit for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.errors import ReportError
from benchmark.find_run import FoundRun, find_run
from benchmark.plan import RunSpec, TeacherRun
from benchmark.runner import run_folder as files
from benchmark.runner.run_folder import RunFolder
from benchmark.study import StudySettings
from clothclf.data.dataset import DataSet
from clothclf.errors import SettingsError, WeightsError
from clothclf.settings.training import TeacherSettings

if TYPE_CHECKING:
    import torch

    from clothclf.models.classifier import Classifier
    from clothclf.training.teacher import Teacher


def find_teachers(study: StudySettings, data: DataSet) -> tuple[TeacherRun, ...]:
    """The runs that `train.teacher.runs` names.

    Raises SettingsError where there is no such run, its classes are others, or it was trained on
    pictures that are kept from training here: its answers would tell of them.
    """
    found = []
    for asked in study.train.teacher.runs:
        try:
            teacher = find_run(asked, lambda: _untaught(study))
            teacher.require_model()
        except ReportError as error:
            raise SettingsError(f"train.teacher.runs: {error}") from None
        if fault := _fault(teacher, data):
            raise SettingsError(f"train.teacher.runs: {teacher.name} {fault}")
        found.append(
            TeacherRun(run_id=teacher.record.run_id, folder=teacher.folder.path.absolute())
        )
    return tuple(found)


def with_teachers_by_id(study: StudySettings) -> StudySettings:
    """The study with its teachers as its runs name them; one that is gone stays as it was named."""
    return taught_by(study, [_run_id(asked, study) for asked in study.train.teacher.runs])


def taught_by(study: StudySettings, run_ids: Sequence[str]) -> StudySettings:
    """The study with these names for its teachers: a run has one identity, whatever they were."""
    teacher = study.train.teacher.model_copy(update={"runs": tuple(run_ids)})
    train = study.train.model_copy(update={"teacher": teacher})
    return study.model_copy(update={"train": train})


def _untaught(study: StudySettings) -> StudySettings:
    """The study without a teacher: its settings choose between runs of a teacher's name."""
    train = study.train.model_copy(update={"teacher": TeacherSettings()})
    return study.model_copy(update={"train": train})


def _run_id(asked: str, study: StudySettings) -> str:
    try:
        return find_run(asked, lambda: _untaught(study)).record.run_id
    except ReportError:
        return asked


def _fault(teacher: FoundRun, data: DataSet) -> str:
    """Why a run cannot teach this study, in words that follow its name; else empty."""
    if teacher.record.spec.data_summary.classes != data.summary.classes:
        return "has other classes than the study; a teacher must have the same"
    manifest = data.manifest
    kept_back = set(manifest["pixel_hash"][manifest["split"] != "train"])
    if not teacher.has(files.MANIFEST):
        return f"cannot teach: its {files.MANIFEST} is not what the run wrote"
    own = pd.read_parquet(teacher.folder.path / files.MANIFEST)
    seen = kept_back & set(own["pixel_hash"][own["split"] == "train"])
    if seen:
        return (
            f"was trained on {len(seen):,} pictures that this study validates or tests with: its "
            "answers would tell of them; teach by a run of the same split"
        )
    return ""


def open_teacher(spec: RunSpec, pupil: Classifier, device: torch.device) -> Teacher | None:
    """What teaches a run, where anything does, on its device; raises WeightsError."""
    if not spec.teachers:
        return None
    from benchmark.use.answering import restore_run
    from clothclf.training.teacher import Teacher

    networks = []
    for teacher in spec.teachers:
        folder = RunFolder(teacher.folder)
        record = folder.record()
        if record is None or record.run_id != teacher.run_id:
            raise WeightsError(
                f"train.teacher.runs: run {teacher.run_id} is not in {teacher.folder} any more, or "
                "that folder cannot be reached from here"
            )
        networks.append((restore_run(FoundRun(folder, record)), record.spec.image_size))
    return Teacher(networks, spec.train.teacher.share, pupil.normalization, device)
