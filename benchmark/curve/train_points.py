"""Training process of a learning curve: reads a request from standard input, trains its points.

Request and answer are JSON. Each point is stored when its training ends.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from benchmark.curve.sizes import nested_subsets
from benchmark.inference.load_teacher import open_teacher
from benchmark.inference.restore import SavedModel, initial_weights
from benchmark.runs import run_folder as files
from benchmark.runs.curve_results import DRAWS, SHARES, CurveFile, CurvePoint, LearningCurve
from benchmark.runs.find import FinishedRun, open_run
from benchmark.runs.inputs import build_from, make_batches, open_splits
from clothclf.data.batches import FeatureBatches, ImageBatches
from clothclf.data.dataset import SplitImages
from clothclf.data.groups import clusters
from clothclf.device import make_repeatable, select_device
from clothclf.errors import UserError, WeightsError, first_line
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures
from clothclf.models.load_weights import state_hash
from clothclf.process.respond import serve_request
from clothclf.results import Predictions, TrainingResult
from clothclf.settings import TrainSettings
from clothclf.training.loop import Inputs, Watcher, open_inputs, train
from clothclf.training.predict import predict
from clothclf.training.teacher import Teacher

Ints = npt.NDArray[np.int64]


def _handle(request: dict[str, Any]) -> dict[str, Any]:
    """Train the missing points of a run's curve; returns a `result` or an `error`."""
    try:
        return {"result": {"seconds": train_points(open_run(Path(request["run"])))}}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # architectures raise arbitrary exceptions
        return {"error": f"{type(error).__name__}: {first_line(error)}"}


def train_points(finished: FinishedRun) -> float:
    """Train all points that are not stored yet; return the seconds until the first training."""
    started = time.perf_counter()
    run = _Retraining(finished)
    prepared = time.perf_counter() - started
    stored = CurveFile(finished.folder.path, finished.record.run_id)
    test = run.images.splits["test"]
    curve = stored.read() or LearningCurve(
        run_id=finished.record.run_id, test_images=len(test), points=()
    )
    if not curve.has(1.0, 0):
        curve = _with(curve, run.own_point())
        stored.write(curve)
    for draw in range(DRAWS):
        subsets = run.subsets(draw)
        for share, positions in zip(SHARES, subsets, strict=False):
            if not curve.has(share, draw):
                curve = _with(curve, run.train(share, draw, positions))
                stored.write(curve)
    return prepared


def _with(curve: LearningCurve, point: CurvePoint) -> LearningCurve:
    return curve.model_copy(update={"points": (*curve.points, point)})


class _Retraining:
    """A finished run that can be trained again on a part of its images."""

    def __init__(self, run: FinishedRun) -> None:
        self.run = run
        spec = run.record.spec
        make_repeatable()
        device = select_device(spec.device)
        splits = open_splits(spec, run.folder, lambda note: print(note, file=sys.stderr))
        self.classifier, backbone_sha256 = _as_before_training(run)
        self.images = make_batches(spec, splits, self.classifier, device)
        self.features = BackboneFeatures(self.classifier, self.images, spec.cache, backbone_sha256)
        self.inputs = open_inputs(
            self.classifier, self.images, Watcher(), spec.cache, self.features
        )
        self.teacher: Teacher | None = open_teacher(spec, self.classifier, device)
        self.settings = recipe(run)
        self.initial = {name: t.cpu() for name, t in self.classifier.trained_state().items()}
        manifest = pd.read_parquet(run.folder.path / files.MANIFEST)
        self.groups = clusters(manifest)[(manifest["split"] == "train").to_numpy()]

    def subsets(self, draw: int) -> list[Ints]:
        """Positions of the training images of each size but the largest; equal for all networks."""
        labels = self.images.splits["train"].targets
        return nested_subsets(labels, self.groups, [self.run.record.spec.seed, draw])

    def train(self, share: float, draw: int, positions: Ints) -> CurvePoint:
        """Train on some of the training images, and predict the test images."""
        started = time.perf_counter()
        images, inputs = part_of(self.images, self.inputs, positions)
        self.classifier.backbone_frozen = False
        self.classifier.zero_grad(set_to_none=True)
        self.classifier.load_state_dict(self.initial, strict=False)
        result = train(
            self.classifier, images, self.settings, Watcher(), teacher=self.teacher, inputs=inputs
        )
        cache = self.run.record.spec.cache
        predictions = predict(self.classifier, images, "test", cache, self.features)
        seconds = time.perf_counter() - started
        return _point(share, draw, len(positions), _hits(predictions), result, seconds)

    def own_point(self) -> CurvePoint:
        """The run itself, from its stored predictions."""
        record = self.run.record
        table = pd.read_parquet(self.run.folder.path / files.PREDICTIONS)
        table = table.sort_values("id", kind="stable")
        hits = (table["answer"] == table["label"]).to_numpy()
        images = len(self.images.splits["train"])
        return _point(1.0, 0, images, hits, record.training, record.training.full_seconds)


def _as_before_training(run: FinishedRun) -> tuple[Classifier, str]:
    """Build the classifier of a run with its initial weights, which must be unchanged."""
    spec = run.record.spec
    weights = initial_weights(SavedModel.of(run.record))
    classifier = build_from(spec.model_copy(update={"weights": weights}))
    sha256 = state_hash(classifier.backbone)
    if sha256 != run.record.backbone_sha256:
        raise WeightsError(
            f"{run.name}: its initial backbone ({weights.name} weights) cannot be built again, "
            "possibly due to another version of torch or timm; use the versions in the run's record"
        )
    return classifier, sha256


def recipe(run: FinishedRun) -> TrainSettings:
    """Settings with which the run was trained: those of the study, or of its best trial."""
    spec, tuned = run.record.spec, run.record.training.tuning
    if spec.tuning is None or tuned is None:
        return spec.train
    return spec.tuning.points(spec.train)[tuned.chosen]


def part_of(images: ImageBatches, inputs: Inputs, positions: Ints) -> tuple[ImageBatches, Inputs]:
    """Images and inputs of a training on some of the training images."""
    whole = images.splits["train"]
    part = SplitImages(
        ids=[whole.ids[index] for index in positions],
        targets=whole.targets[positions],
        rows=whole.rows[positions],
        pixels=whole.pixels,
    )
    own = ImageBatches(
        {**images.splits, "train": part},
        images.normalization,
        images.augment,
        images.batch_size,
        images.seed,
        images.device,
        resident=images.resident,
        sampling=images.sampling,
    )
    if not isinstance(inputs.batches, FeatureBatches):
        return own, dataclasses.replace(inputs, batches=own, seconds=0.0)
    cached = inputs.batches
    views = cached.views[:, torch.from_numpy(positions).to(cached.views.device)]
    batches = FeatureBatches(own, views, cached.held_out_features)
    return own, dataclasses.replace(inputs, batches=batches, seconds=0.0)


def _hits(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Correctness of predictions by ascending id, the order of `CurvePoint.correct`."""
    order = np.argsort(np.asarray(predictions.ids, dtype=object), kind="stable")
    hits: npt.NDArray[np.bool_] = predictions.probabilities.argmax(1) == predictions.targets
    return hits[order]


def _point(
    share: float,
    draw: int,
    images: int,
    hits: npt.NDArray[np.bool_],
    training: TrainingResult,
    seconds: float,
) -> CurvePoint:
    return CurvePoint(
        share=share,
        draw=draw,
        images=images,
        correct=CurvePoint.packed(hits),
        valid_accuracy=training.best.valid_accuracy,
        epochs=len(training.epochs),
        seconds=seconds,
    )


if __name__ == "__main__":
    serve_request(_handle)
