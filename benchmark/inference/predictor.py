"""Predict classes of encoded images with a trained classifier, preprocessed as in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from benchmark.inference.restore import SavedModel, restore
from benchmark.runs import run_folder as files
from benchmark.runs.find import FinishedRun
from benchmark.runs.spec import RunSpec
from clothclf.data.decode import decoding, resized
from clothclf.device import select_device
from clothclf.models.fold import folded

if TYPE_CHECKING:
    from clothclf.models.classifier import Classifier

BATCH_SIZE = 64
"""Maximum number of images in memory, and in a batch on a GPU."""
BATCH_SIZE_ON_CPU = 16
"""Fewer: the activations of larger batches leave the caches of a core, which costs up to half of
the speed."""
TOP = 5
"""Number of classes in a prediction, most probable first."""


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image."""

    top: tuple[tuple[str, float], ...]
    """Classes with probabilities, most probable first, at most `TOP`."""

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Probability of the most probable class, 0 to 1."""
        return self.top[0][1]


class Predictor:
    """Predicts classes and probabilities of encoded images."""

    def __init__(self, classifier: Classifier, spec: RunSpec, device: torch.device) -> None:
        """Move the trained `classifier` to `device`, and fold it where possible."""
        classifier = classifier.to(device).eval()
        if classifier.backbone_is_deterministic():
            # The run's own predictions were computed with the folded classifier.
            classifier = folded(classifier, spec.image_size)
        self._classifier = classifier
        self._device = device
        self._batch_size = BATCH_SIZE_ON_CPU if device.type == "cpu" else BATCH_SIZE
        self._size = spec.image_size
        self.classes = spec.data_summary.classes

    def pixels(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Decode one image to uint8 [size, size, 3]; raises DataError if it is invalid."""
        with decoding(content) as decoded:
            return resized(decoded.image, self._size)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Class probabilities [n, classes] of images [n, size, size, 3]."""
        parts = [
            self._batch_probabilities(pixels[i : i + self._batch_size])
            for i in range(0, len(pixels), self._batch_size)
        ]
        nothing = np.empty((0, len(self.classes)), dtype=np.float32)
        return np.concatenate([nothing, *parts])

    def predictions(self, probabilities: npt.NDArray[np.float32]) -> list[Prediction]:
        """Predictions from probabilities [n, classes]."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        return [
            Prediction(tuple((self.classes[index], float(row[index])) for index in indices))
            for row, indices in zip(probabilities, order, strict=True)
        ]

    @torch.inference_mode()
    def _batch_probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        images = torch.from_numpy(pixels).to(self._device)
        scores = self._classifier(self._classifier.normalization.apply(images))
        scaled = scores / self._classifier.temperature
        probabilities: npt.NDArray[np.float32] = scaled.softmax(1).cpu().numpy()
        return probabilities


def restore_run(run: FinishedRun) -> Classifier:
    """Restore the trained classifier of a finished run; raises WeightsError."""
    return restore(SavedModel.of(run.record), run.folder.path / files.MODEL)


def open_predictor(run: FinishedRun, device: str = "auto") -> Predictor:
    """Make a predictor from a finished run; raises WeightsError or DeviceError."""
    return Predictor(restore_run(run), run.record.spec, select_device(device))


def read_image(path: Path, limit: int) -> bytes:
    """Read a file; raises DataError if it cannot be read or exceeds `limit` bytes."""
    from clothclf.errors import DataError

    try:
        if not path.is_file():  # reading a pipe could block forever
            raise DataError("is not a file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise DataError(f"is larger than {limit / 2**20:g} MiB")
    return content
