"""Run folders as a run leaves them: manifest, answers, and a record that fits them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.report.predictions import TestSet
from benchmark.runs import run_folder as files
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from clothclf.results import MeasuredCost, Predictions
from clothclf.training.calibration import with_temperature
from tests.benchmark.examples import DATA, make_record, make_spec


@dataclass(frozen=True)
class DrawnImages:
    """A test split: `hashes` are equal for exact duplicates."""

    ids: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    hashes: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    """Values of `data.split.group`; empty where it is not asked for."""

    @property
    def fingerprint(self) -> str:
        result = repr((self.ids, self.targets.tolist(), self.hashes, self.classes))
        return hashlib.sha256(result.encode()).hexdigest()[:16]

    def test_set(self) -> TestSet:
        groups = np.unique(self.hashes, return_inverse=True)[1].astype(np.int64)
        rows = np.arange(len(self.ids))
        return TestSet(self.ids, self.targets, groups, rows, self.classes, self.hashes)


def draw_test_set(
    count: int, classes: Sequence[str] = ("a", "b", "c"), duplicates: int = 0, seed: int = 0
) -> DrawnImages:
    """`count` images, the last `duplicates` of them with the pixels and labels of the first."""
    targets = np.random.default_rng(seed).integers(0, len(classes), count)
    hashes = [f"{seed}-{place}" for place in range(count)]
    if duplicates:
        hashes[count - duplicates :] = hashes[:duplicates]
        targets[count - duplicates :] = targets[:duplicates]
    ids = tuple(f"{1000 + place}" for place in range(count))
    return DrawnImages(ids, targets, tuple(hashes), tuple(classes))


def draw_predictions(
    targets: npt.NDArray[np.int64], right: npt.NDArray[np.bool_], classes: int, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Probabilities [n, classes] whose answers are right where `right` says, else another class."""
    generator = np.random.default_rng(seed)
    wrong = (targets + generator.integers(1, classes, len(targets))) % classes
    predictions = np.where(right, targets, wrong)
    shares = generator.random((len(targets), classes)).astype(np.float32)
    shares[np.arange(len(targets)), predictions] = 1 + generator.random(len(targets))
    return shares / shares.sum(axis=1, keepdims=True)


def store_predicted_run(
    root: Path,
    images: DrawnImages,
    probabilities: npt.NDArray[np.float32],
    architecture: str = "vgg16",
    macs: int | None = 10**9,
    measured: MeasuredCost | None = None,
    valid: tuple[DrawnImages, npt.NDArray[np.float32]] | float | None = None,
    **changes: Any,
) -> RunRecord:
    """Write a finished run below the tracking folder `root`; `changes` are of its spec.

    `valid` holds validation images and their probabilities, or the validation accuracy alone; by
    default it is the test accuracy.
    """
    from clothclf.training.evaluate import evaluate, predictions_table

    summary = dataclasses.replace(
        DATA,
        classes=images.classes,
        fingerprint=images.fingerprint,
        images={**DATA.images, "test": len(images.ids)},
    )
    spec = make_spec(architecture, **{"data_summary": summary, **changes})
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    predictions = Predictions(list(images.ids), images.targets, probabilities)
    # A run writes its answers in the order of the split, whatever that is.
    table = predictions_table(predictions, images.classes).sample(frac=1, random_state=spec.seed)
    table.to_parquet(folder.path / files.PREDICTIONS, index=False)
    evaluation = evaluate(predictions, images.classes)
    valid_accuracy = evaluation.accuracy if valid is None else valid
    splits = {"test": images}
    if isinstance(valid_accuracy, tuple):
        splits["valid"], shares = valid_accuracy
        valid_predictions = Predictions(list(splits["valid"].ids), splits["valid"].targets, shares)
        table = predictions_table(valid_predictions, images.classes)
        table.to_parquet(folder.path / files.VALID_PREDICTIONS, index=False)
        valid_accuracy = evaluate(valid_predictions, images.classes).accuracy
    _manifest(splits).to_parquet(folder.path / files.MANIFEST, index=False)
    record = make_record(spec, 0.5, macs, measured)
    (epoch,) = record.training.epochs
    epochs = (dataclasses.replace(epoch, valid_accuracy=valid_accuracy),)
    result = {
        "test": evaluation,
        "files": folder.hashes(),
        "training": dataclasses.replace(record.training, epochs=epochs),
    }
    record = record.model_copy(update=result)
    folder.write(files.RECORD, record)
    return record


def _manifest(splits: dict[str, DrawnImages]) -> pd.DataFrame:
    first = splits["test"].classes[0]
    parts = [
        pd.DataFrame({"id": ["1", "2"], "label": first, "split": "train", "pixel_hash": ["x", "y"]})
    ]
    for split, images in splits.items():
        labels = [images.classes[number] for number in images.targets]
        columns = {"id": images.ids, "label": labels, "split": split, "pixel_hash": images.hashes}
        parts.append(pd.DataFrame(columns | ({"group": images.groups} if images.groups else {})))
    table = pd.concat(parts, ignore_index=True).fillna("")
    return table.assign(pixel_row=np.arange(len(table)))


def calibrated_predictions(folder: RunFolder) -> pd.DataFrame:
    """A run's stored test predictions, with the probabilities that its model gives in use."""
    record = folder.record()
    assert record is not None
    table = pd.read_parquet(folder.path / files.PREDICTIONS)
    shares = [name for name in table if name.startswith("p/")]
    temperature = record.training.temperature
    assert temperature is not None
    table[shares] = with_temperature(table[shares].to_numpy(), temperature)
    return table
