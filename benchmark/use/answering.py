"""A trained classifier that answers for encoded pictures, prepared as training pictures were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from benchmark.find_run import FoundRun
from benchmark.plan import RunSpec
from benchmark.restore import SavedModel, restore
from benchmark.runner import run_folder as files
from clothclf.data.decode import decoding, resized
from clothclf.models.fold import folded
from clothclf.training.device import choose_device

if TYPE_CHECKING:
    from clothclf.models.classifier import Classifier

BATCH_SIZE = 64
TOP = 5
"""Classes that are told of a picture, most probable first."""


@dataclass(frozen=True)
class Answer:
    """One picture's classes and their probabilities, the most probable first, `TOP` at most."""

    top: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Of the most probable class, 0 to 1."""
        return self.top[0][1]


class Answerer:
    """Encoded pictures in, classes and probabilities out."""

    def __init__(self, classifier: Classifier, spec: RunSpec, device: torch.device) -> None:
        """`classifier` is trained; it is moved to `device`, and simplified as far as that goes."""
        classifier = classifier.to(device).eval()
        if classifier.body_is_deterministic():
            # As the run's own answers were computed.
            classifier = folded(classifier, spec.image_size)
        self._classifier = classifier
        self._device = device
        self._size = spec.image_size
        self.classes = spec.data_summary.classes

    def pixels(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Decode one picture to uint8 [size, size, 3]; raises DataError where it is none."""
        with decoding(content) as decoded:
            return resized(decoded.image, self._size)

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Pictures [n, size, size, 3] to class probabilities [n, classes]."""
        parts = [self._some(pixels[i : i + BATCH_SIZE]) for i in range(0, len(pixels), BATCH_SIZE)]
        nothing = np.empty((0, len(self.classes)), dtype=np.float32)
        return np.concatenate([nothing, *parts])

    def answers(self, probabilities: npt.NDArray[np.float32]) -> list[Answer]:
        """The classes that go with probabilities [n, classes]."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        return [
            Answer(tuple((self.classes[place], float(row[place])) for place in places))
            for row, places in zip(probabilities, order, strict=True)
        ]

    @torch.inference_mode()
    def _some(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pictures = torch.from_numpy(pixels).to(self._device)
        scores = self._classifier(self._classifier.normalization.apply(pictures))
        probabilities: npt.NDArray[np.float32] = scores.softmax(1).cpu().numpy()
        return probabilities


def restore_run(found: FoundRun) -> Classifier:
    """A finished run's classifier as it was after training; raises WeightsError."""
    record = found.record
    saved = SavedModel(
        run_id=record.run_id,
        spec=record.spec,
        body_sha256=record.body_sha256,
        tensors_sha256=record.files[files.MODEL],
    )
    return restore(saved, found.folder.path / files.MODEL)


def open_answerer(found: FoundRun, device: str = "auto") -> Answerer:
    """Build what answers for a finished run; raises WeightsError or DeviceError."""
    return Answerer(restore_run(found), found.record.spec, choose_device(device))


def read_picture(path: Path, limit: int) -> bytes:
    """A file's bytes; raises DataError where it cannot be read or has more than `limit`."""
    from clothclf.errors import DataError

    try:
        if not path.is_file():  # a pipe would be waited for without end
            raise DataError("is no file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise DataError(f"is larger than {limit / 2**20:g} MiB")
    return content
