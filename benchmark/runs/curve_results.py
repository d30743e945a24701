"""Learning curve of a run: the same recipe on fewer images, in the folder `curve` of the run.

`curve/points.json` is written after each training, so that an interrupted curve resumes.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from benchmark.runs.run_folder import RunFolder
from clothclf.settings import Settings

CURVE = "curve"
POINTS = "points.json"
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Sizes as shares of the training split; the last one is the run itself."""
DRAWS = 3
"""Number of subsets of each size but the last."""
MAX_IMAGES = 2**31

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=MAX_IMAGES)]


class CurvePoint(Settings):
    """Result of one training on a subset of the training images."""

    share: Annotated[float, Field(gt=0, le=1)]
    """Size as a share of the training split; 1 is the run itself."""
    draw: Annotated[int, Field(ge=0, le=1000)]
    images: Count
    """Number of training images."""
    correct: Annotated[str, Field(pattern="^[A-Za-z0-9+/]*=*$", max_length=2**24)]
    """Whether the class of each test image, by ascending id, is right: bits in base64."""
    valid_accuracy: Share
    epochs: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)]

    def hits(self, images: int) -> npt.NDArray[np.bool_]:
        """Correctness of the predictions of `images` test images, by ascending id."""
        packed = np.frombuffer(base64.b64decode(self.correct), dtype=np.uint8)
        return np.unpackbits(packed, count=images).astype(bool)

    @staticmethod
    def packed(hits: npt.NDArray[np.bool_]) -> str:
        """Inverse of `hits`."""
        return base64.b64encode(np.packbits(hits).tobytes()).decode()


class LearningCurve(Settings):
    """Points of a learning curve; complete once it has all draws of all sizes."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    run_id: str
    test_images: Count
    points: tuple[CurvePoint, ...] = Field(max_length=1000)

    def has(self, share: float, draw: int) -> bool:
        """Return whether the training of a size and draw is finished."""
        return any((point.share, point.draw) == (share, draw) for point in self.points)

    def missing(self) -> list[tuple[float, int]]:
        """Return size and draw of each training that is not finished."""
        planned = [(share, draw) for share in SHARES[:-1] for draw in range(DRAWS)]
        return [item for item in [*planned, (SHARES[-1], 0)] if not self.has(*item)]

    def is_valid(self) -> bool:
        """Return whether every point has a prediction for each test image."""
        length = -(-self.test_images // 8)
        return all(
            len(point.correct) % 4 == 0 and len(base64.b64decode(point.correct)) == length
            for point in self.points
        )


class CurveFile:
    """The stored learning curve of one run."""

    def __init__(self, run: Path, run_id: str) -> None:
        """Use the folder `run`, which holds the run `run_id`."""
        self._folder = RunFolder(run / CURVE)
        self._run_id = run_id

    @property
    def path(self) -> Path:
        """Path of the file, which need not exist."""
        return self._folder.path / POINTS

    def read(self) -> LearningCurve | None:
        """Return the curve; None if it is missing, damaged or of another run."""
        curve = self._folder.read(POINTS, LearningCurve)
        if curve is None or curve.run_id != self._run_id or not curve.is_valid():
            return None
        return curve

    def is_damaged(self) -> bool:
        """Return whether a file exists that `read` refuses."""
        return self.path.exists() and self.read() is None

    def write(self, curve: LearningCurve) -> None:
        """Store the curve, replacing an earlier one."""
        self._folder.path.mkdir(exist_ok=True)
        self._folder.write(POINTS, curve)
