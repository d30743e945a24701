"""Serve a run's model with MLflow: encoded images in, classes and probabilities out.

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

from benchmark.inference.restore import SavedModel, restore
from clothclf.errors import DataError, WeightsError

if TYPE_CHECKING:
    from benchmark.inference.predictor import Prediction, Predictor

TENSORS = "model.safetensors"
SAVED = "model.json"
COLUMN = "image"
MAX_IMAGES = 256
"""Maximum number of images per request."""
MAX_IMAGE_BYTES_READ = 32 * 2**20
"""Maximum size of an encoded image in bytes; the decoder limits decoded images."""


class ImageModel:
    """Predicts for tables with a column `image`: base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF."""

    def __init__(self, predictor: Predictor) -> None:
        """Serve the predictions of `predictor`, which holds the run's classifier."""
        self._predictor = predictor
        # One request at a time: the server has a thread per request, and each would need memory.
        self._lock = threading.Lock()

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row per image: class, probability, and `top5` as a list of both.

        Raises MlflowException (HTTP status 400) if an image cannot be used; the message says which
        one and why.
        """
        encoded = list(data[COLUMN])
        if len(encoded) > MAX_IMAGES:
            _refuse(f"{len(encoded)} images are too many at once; send at most {MAX_IMAGES}")
        with self._lock:
            pixels = [self._pixels(number, text) for number, text in enumerate(encoded)]
            if not pixels:
                return _table([])
            return _table(
                self._predictor.predictions(self._predictor.probabilities(np.stack(pixels)))
            )

    def _pixels(self, number: int, text: object) -> npt.NDArray[np.uint8]:
        """Decode and resize an image as in training; return uint8 [size, size, 3]."""
        if not isinstance(text, str):
            _refuse(f"image {number}: is not text; send an encoded image as base64")
        if len(text) > MAX_IMAGE_BYTES_READ * 4 // 3 + 4:
            _refuse(f"image {number}: is larger than {MAX_IMAGE_BYTES_READ // 2**20} MiB")
        try:
            content = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            _refuse(f"image {number}: is not base64")
        try:
            return self._predictor.pixels(content)
        except DataError as error:
            _refuse(f"image {number}: cannot be decoded: {error}")


def _table(predictions: list[Prediction]) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(
        {
            "class": [prediction.label for prediction in predictions],
            "probability": [prediction.probability for prediction in predictions],
            "top5": [
                [{"class": label, "probability": share} for label, share in prediction.top]
                for prediction in predictions
            ],
        }
    )
    return table


def _load_pyfunc(path: str) -> ImageModel:
    """Load the model from the data folder of an MLflow model; raises WeightsError."""
    from benchmark.inference.predictor import Predictor
    from clothclf.device import select_device

    folder = Path(path)
    try:
        saved = SavedModel.from_json((folder / SAVED).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        raise WeightsError(
            f"{folder / SAVED}: cannot be read; was the model logged by another version of bench?"
        ) from None
    return ImageModel(
        Predictor(restore(saved, folder / TENSORS), saved.spec, select_device("auto"))
    )


def _refuse(why: str) -> NoReturn:
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(why)
