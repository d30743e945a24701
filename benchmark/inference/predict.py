"""Predict the classes of image files in batches, without holding a folder in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.config.study import StudySettings
from benchmark.inference.predictor import (
    BATCH_SIZE,
    Prediction,
    Predictor,
    open_predictor,
    read_image,
)
from benchmark.runs.find import find_run
from clothclf.data.budget import decoding_threads
from clothclf.data.sources.listing import MAX_IMAGE_BYTES
from clothclf.errors import DataError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
"""Suffixes of image files in a folder; files that cannot be read are reported."""


@dataclass(frozen=True)
class FilePrediction:
    """Result for one file: a prediction, or the reason why there is none."""

    path: Path
    prediction: Prediction | None
    error: str = ""

    @property
    def answer(self) -> Prediction | None:
        """Former name of `prediction`."""
        warnings.warn("answer is deprecated; use prediction", DeprecationWarning, stacklevel=2)
        return self.prediction


def predict(
    study: StudySettings, run: str, images: Sequence[Path], device: str = "auto"
) -> list[FilePrediction]:
    """Predict the classes of image files and of all images in folders, with a run of the study.

    `run` is a name, a run_id or a prefix of it, or a folder. Raises ReportError if there is no such
    finished run, and DataError if a path does not exist.
    """
    predictor = open_predictor(find_run(run, lambda: study), device)
    return list(predict_files(predictor, images_of(images)))


def images_of(requested: Sequence[Path]) -> list[Path]:
    """Return the given files, with folders replaced by all images in and below them, by name.

    Raises DataError if a path does not exist or a folder has no images.
    """
    files: list[Path] = []
    for path in requested:
        if path.is_dir():
            # Links to folders are not followed, because they may form a cycle.
            inside = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in ENDINGS and file.is_file()
            )
            if not inside:
                raise DataError(f"{path}: contains no images ({', '.join(ENDINGS)})")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"{path}: no such file or folder")
    return files


def predict_files(predictor: Predictor, paths: Sequence[Path]) -> Iterator[FilePrediction]:
    """Yield a prediction for each file in order; only one batch is in memory."""

    def decoded(path: Path) -> npt.NDArray[np.uint8] | str:
        try:
            return predictor.pixels(read_image(path, MAX_IMAGE_BYTES))
        except DataError as error:
            return str(error)

    with decoding_threads() as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            some = paths[start : start + BATCH_SIZE]
            images = list(pool.map(decoded, some))
            pixels = [item for item in images if not isinstance(item, str)]
            predicted = iter(
                predictor.predictions(predictor.probabilities(np.stack(pixels))) if pixels else ()
            )
            for path, item in zip(some, images, strict=True):
                if isinstance(item, str):
                    yield FilePrediction(path, None, item)
                else:
                    yield FilePrediction(path, next(predicted))
