"""A study of many runs as runs leave it: drawn images decoded for real, answers made up.

An architecture's skill is made up; which images are hard is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.config.study import StudySettings, TrackingSettings
from benchmark.report.collect import Collection, collect
from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure
from benchmark.runs.run_folder import RunFolder
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare
from clothclf.results import EpochResult, Predictions, TrainingResult
from clothclf.settings import ArchitectureSettings, DataSettings, DemoSettings, SplitSettings
from tests.benchmark.examples import make_measured, make_record, make_spec


@dataclass(frozen=True)
class Made:
    """What was written below a tracking folder."""

    study: StudySettings
    root: Path

    def collection(self) -> Collection:
        return collect(self.study, self.root)


def make_study(
    root: Path,
    names: Sequence[str],
    seeds: Sequence[int] = (0, 1),
    images_per_class: int = 20,
    epochs: int = 12,
) -> Made:
    """Write a finished run for each name and seed; later names are better and cost more."""
    data_settings = DataSettings(
        image_size=48,
        demo=DemoSettings(images_per_class=images_per_class),
        split=SplitSettings(train=0.05, valid=0.05, test=0.9),
    )
    data = prepare(data_settings, root / "cache")
    study = StudySettings(
        study="s",
        data=data_settings,
        architectures=tuple(ArchitectureSettings(name=name) for name in names),
        seeds=tuple(seeds),
        tracking=TrackingSettings(folder=root),
    )
    for place in range(len(names)):
        for seed in seeds:
            _keep(root, study, data, place, seed, epochs)
    return Made(study, root)


def fail(made: Made, name: str, reason: str) -> None:
    """Write a run of the study that failed."""
    record = made.collection().comparisons[0].records[0]
    spec = record.spec.model_copy(update={"architecture": name, "seed": 0})
    folder = RunFolder.of(made.root, spec)
    folder.start(spec)
    result = Failure(
        run_id=spec.run_id, spec=spec, stage="train", reason=reason, log_tail="", at="2024"
    )
    folder.write(files.FAILURE, result)


def _keep(
    root: Path, study: StudySettings, data: DataSet, place: int, seed: int, epochs: int
) -> None:
    from clothclf.training.evaluate import evaluate, predictions_table

    name = study.architectures[place].name
    spec = make_spec(
        name,
        seed,
        data=study.data,
        data_summary=data.summary,
        pixels=data.pixels,
        model=study.model,
    )
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    test = data.split("test")
    skill = 1.9 + 0.6 * (place + 1) / len(study.architectures) + 0.25 * (place % 4 == 1)
    shares = _answers(test.targets, len(data.summary.classes), skill, 100 * place + seed)
    predictions = Predictions(test.ids, test.targets, shares)
    table = predictions_table(predictions, data.summary.classes)
    table.to_parquet(folder.path / files.PREDICTIONS, index=False)
    data.manifest.to_parquet(folder.path / files.MANIFEST, index=False)
    macs = round(5e7 * 1.18**place * (1 + 0.4 * (place % 3)))
    record = make_record(spec, 0.5, macs, make_measured(2.0 + 0.7 * place))
    result = {
        "test": evaluate(predictions, data.summary.classes),
        "training": _training(epochs, skill, 100 * place + seed),
        "files": folder.hashes(),
    }
    folder.write(files.RECORD, record.model_copy(update=result))


def _answers(
    targets: npt.NDArray[np.int64], classes: int, skill: float, seed: int
) -> npt.NDArray[np.float32]:
    """Probabilities [n, classes]."""
    hard = np.random.default_rng(0).gumbel(0, 1, (len(targets), classes))
    own = np.random.default_rng(seed + 1).gumbel(0, 0.5, (len(targets), classes))
    scores = hard + own
    scores[np.arange(len(targets)), targets] += 1.7 * skill
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(
        np.float32
    )
    return shares


def _training(epochs: int, skill: float, seed: int) -> TrainingResult:
    generator = np.random.default_rng(seed)
    actual = []
    for epoch in range(1, epochs + 1):
        left = np.exp(-epoch * skill / 8)
        loss = float(0.4 + left + 0.02 * generator.random())
        accuracy = float(0.85 - 0.5 * left + 0.01 * generator.random())
        actual.append(
            EpochResult(epoch, loss * 0.9, accuracy, loss, accuracy, 0.001, 3.0 * skill, 100.0)
        )
    best = min(actual, key=lambda result: result.valid_loss)
    return TrainingResult(tuple(actual), best.epoch, False, "features", 3.0 * skill * epochs)
