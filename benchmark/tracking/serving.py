"""A run's model as MLflow loads and serves it: encoded pictures in, classes and probabilities out.

MLflow imports this module by its name from a model's MLmodel file and calls `_load_pyfunc`.
"""

from __future__ import annotations

import base64
import binascii
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from benchmark.restore import SavedModel, restore
from clothclf.errors import DataError, WeightsError

if TYPE_CHECKING:
    import torch

    from clothclf.models.classifier import Classifier

TENSORS = "model.safetensors"
SAVED = "model.json"
COLUMN = "image"
MAX_PICTURES = 256
"""In a request."""
MAX_PICTURE_BYTES = 32 * 2**20
"""Of one encoded picture; decoded ones are bounded by the decoder."""
BATCH_SIZE = 64
TOP = 5


class PictureModel:
    """Answers for tables with a column `image`: base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF."""

    def __init__(self, classifier: Classifier, saved: SavedModel, device: torch.device) -> None:
        """`classifier` is on `device` and ready to answer."""
        self._classifier = classifier
        self._device = device
        self._classes = saved.spec.data_summary.classes
        self._size = saved.spec.image_size
        # One request at a time: the server has a thread for each, and each would take memory.
        self._lock = threading.Lock()

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """A row for each picture: class, probability, and `top5` as a list of both.

        Raises MlflowException, which the server answers with status 400, where a picture cannot
        be used; it says which and why.
        """
        encoded = list(data[COLUMN])
        if len(encoded) > MAX_PICTURES:
            _refuse(f"{len(encoded)} pictures are too many at once; send at most {MAX_PICTURES}")
        with self._lock:
            pixels = [self._pixels(number, text) for number, text in enumerate(encoded)]
            parts = [
                self._probabilities(np.stack(pixels[start : start + BATCH_SIZE]))
                for start in range(0, len(pixels), BATCH_SIZE)
            ]
        return self._table(np.concatenate(parts) if parts else np.empty((0, len(self._classes))))

    def _pixels(self, number: int, text: object) -> npt.NDArray[np.uint8]:
        """uint8 [size, size, 3], decoded and resized as training pictures are."""
        from PIL import Image

        from clothclf.data.decode import decode_rgb

        if not isinstance(text, str):
            _refuse(f"picture {number}: is no text; send base64 of an encoded picture")
        if len(text) > MAX_PICTURE_BYTES * 4 // 3 + 4:
            _refuse(f"picture {number}: has over {MAX_PICTURE_BYTES // 2**20} MiB")
        try:
            content = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            _refuse(f"picture {number}: is not base64")
        try:
            image = decode_rgb(content).image
        except DataError as error:
            _refuse(f"picture {number}: cannot be decoded: {error}")
        size = (self._size, self._size)
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR))

    def _probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Pictures [n, size, size, 3] to class probabilities [n, classes]."""
        import torch

        with torch.inference_mode():
            pictures = torch.from_numpy(pixels).to(self._device)
            scores = self._classifier(self._classifier.normalization.apply(pictures))
            probabilities: npt.NDArray[np.float32] = scores.softmax(1).cpu().numpy()
        return probabilities

    def _table(self, probabilities: npt.NDArray[Any]) -> pd.DataFrame:
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        best = [
            [{"class": self._classes[c], "probability": float(row[c])} for c in places]
            for row, places in zip(probabilities, order, strict=True)
        ]
        table: pd.DataFrame = pd.DataFrame(
            {
                "class": [first[0]["class"] for first in best],
                "probability": [first[0]["probability"] for first in best],
                "top5": best,
            }
        )
        return table


def _load_pyfunc(path: str) -> PictureModel:
    """Build the model whose data MLflow has put into a folder; raises WeightsError in words."""
    from clothclf.models.fold import folded
    from clothclf.training.device import choose_device

    folder = Path(path)
    try:
        saved = SavedModel.model_validate_json((folder / SAVED).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        raise WeightsError(
            f"{folder / SAVED}: cannot be read; was the model logged by another version of bench?"
        ) from None
    device = choose_device("auto")
    classifier = restore(saved, folder / TENSORS).to(device)
    if classifier.body_is_deterministic():
        # As the run's own answers were computed.
        classifier = folded(classifier, saved.spec.image_size)
    return PictureModel(classifier, saved, device)


def _refuse(why: str) -> NoReturn:
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(why)
