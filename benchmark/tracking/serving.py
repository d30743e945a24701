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
    from benchmark.use.answering import Answer, Answerer

TENSORS = "model.safetensors"
SAVED = "model.json"
COLUMN = "image"
MAX_PICTURES = 256
"""In a request."""
MAX_PICTURE_BYTES = 32 * 2**20
"""Of one encoded picture; decoded ones are bounded by the decoder."""


class PictureModel:
    """Answers for tables with a column `image`: base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF."""

    def __init__(self, answerer: Answerer) -> None:
        """`answerer` answers by the run's classifier."""
        self._answerer = answerer
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
            if not pixels:
                return _table([])
            return _table(self._answerer.answers(self._answerer.probabilities(np.stack(pixels))))

    def _pixels(self, number: int, text: object) -> npt.NDArray[np.uint8]:
        """uint8 [size, size, 3], decoded and resized as training pictures are."""
        if not isinstance(text, str):
            _refuse(f"picture {number}: is no text; send base64 of an encoded picture")
        if len(text) > MAX_PICTURE_BYTES * 4 // 3 + 4:
            _refuse(f"picture {number}: has over {MAX_PICTURE_BYTES // 2**20} MiB")
        try:
            content = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            _refuse(f"picture {number}: is not base64")
        try:
            return self._answerer.pixels(content)
        except DataError as error:
            _refuse(f"picture {number}: cannot be decoded: {error}")


def _table(answers: list[Answer]) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(
        {
            "class": [answer.label for answer in answers],
            "probability": [answer.probability for answer in answers],
            "top5": [
                [{"class": label, "probability": share} for label, share in answer.top]
                for answer in answers
            ],
        }
    )
    return table


def _load_pyfunc(path: str) -> PictureModel:
    """Build the model whose data MLflow has put into a folder; raises WeightsError in words."""
    from benchmark.use.answering import Answerer
    from clothclf.training.device import choose_device

    folder = Path(path)
    try:
        saved = SavedModel.model_validate_json((folder / SAVED).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        raise WeightsError(
            f"{folder / SAVED}: cannot be read; was the model logged by another version of bench?"
        ) from None
    return PictureModel(
        Answerer(restore(saved, folder / TENSORS), saved.spec, choose_device("auto"))
    )


def _refuse(why: str) -> NoReturn:
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(why)
