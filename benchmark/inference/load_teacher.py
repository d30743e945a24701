"""Load the teacher of a run."""

from __future__ import annotations

import torch

from benchmark.inference.predictor import restore_run
from benchmark.runs.find import FinishedRun
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.errors import WeightsError
from clothclf.models.classifier import Classifier
from clothclf.training.teacher import Teacher


def open_teacher(spec: RunSpec, student: Classifier, device: torch.device) -> Teacher | None:
    """Load the teacher of a run to `device`; None without one. Raises WeightsError."""
    if not spec.teachers:
        return None
    networks = []
    for teacher in spec.teachers:
        folder = RunFolder(teacher.folder)
        record = folder.record()
        if record is None or record.run_id != teacher.run_id:
            raise WeightsError(
                f"train.teacher.runs: run {teacher.run_id} is no longer in {teacher.folder}, or "
                "the folder is not accessible from this machine"
            )
        networks.append((restore_run(FinishedRun(folder, record)), record.spec.image_size))
    return Teacher(networks, spec.train.teacher.share, student.normalization, device)
