"""Predict the classes of image files in batches, without holding a folder in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.config.study import StudySettings
from benchmark.inference.predictor import (
    BATCH_SIZE,
    Answer,
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
class Predicted:
    """Result for one file: a prediction, or the reason why there is none."""

    path: Path
    answer: Answer | None
    error: str = ""


def predict(
    study: StudySettings, run: str, images: Sequence[Path], device: str = "auto"
) -> list[Predicted]:
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
    found: list[Path] = []
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
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder")
    return found


def predict_files(predictor: Predictor, paths: Sequence[Path]) -> Iterator[Predicted]:
    """Yield a prediction for each file in order; only one batch is in memory."""

    def decoded(path: Path) -> npt.NDArray[np.uint8] | str:
        try:
            return predictor.pixels(read_image(path, MAX_IMAGE_BYTES))
        except DataError as error:
            return str(error)

    with decoding_threads() as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            some = paths[start : start + BATCH_SIZE]
            found = list(pool.map(decoded, some))
            pixels = [item for item in found if not isinstance(item, str)]
            answers = iter(
                predictor.answers(predictor.probabilities(np.stack(pixels))) if pixels else ()
            )
            for path, item in zip(some, found, strict=True):
                if isinstance(item, str):
                    yield Predicted(path, None, item)
                else:
                    yield Predicted(path, next(answers))
