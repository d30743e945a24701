"""Predictions of a run for corrupted test images, stored in the folder `stress` of the run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from benchmark.errors import ReportError
from benchmark.runs.run_folder import RunFolder
from clothclf.data.corruption_names import CORRUPTIONS, SEVERITIES
from clothclf.settings import Settings

STRESS = "stress"
"""Folder of all conditions in a run's folder, a file for each."""


class StressResult(Settings):
    """Predicted classes under one condition: a corruption at one severity."""

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    run_id: str
    corruption: str = Field(pattern="^[a-z0-9_]{1,40}$")
    severity: int = Field(ge=1, le=5)
    corruptions_version: int
    """Version of `clothclf.data.corruptions` that made the images."""
    predictions: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...]
    """Class number of each test image, sorted by the id of the image."""

    @property
    def condition(self) -> tuple[str, int]:
        """Corruption and severity."""
        return self.corruption, self.severity

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Predicted class numbers [n]."""
        return np.array(self.predictions, dtype=np.int64)


class StressResults:
    """The folder `stress` of one run."""

    def __init__(self, run: Path, run_id: str, images: int) -> None:
        """Use the folder of a run with that many test images, which need not have results."""
        self._files = RunFolder(run / STRESS)
        self._run_id = run_id
        self._images = images

    def read(self, corruption: str, severity: int, version: int) -> StressResult | None:
        """Return the predictions under one condition; None if missing, damaged or outdated."""
        stored = self._files.read(f"{corruption}-{severity}.json", StressResult)
        if stored is None or stored.condition != (corruption, severity):
            return None
        return stored if self._is_own(stored) and stored.corruptions_version == version else None

    def all(self) -> dict[tuple[str, int], StressResult]:
        """Return the predictions of the newest corruptions by condition, in order of families.

        Raises ReportError if a file is damaged: without it, a mean would be another figure.
        """
        if not self._files.path.is_dir():
            return {}
        conditions = itertools.product(CORRUPTIONS, SEVERITIES)
        names = [f"{name}-{severity}.json" for name, severity in conditions]
        present = [name for name in names if (self._files.path / name).exists()]
        known = [self._known(name) for name in present]
        newest = max((item.corruptions_version for item in known), default=0)
        return {item.condition: item for item in known if item.corruptions_version == newest}

    def _known(self, name: str) -> StressResult:
        item = self._files.read(name, StressResult)
        if item is None or f"{item.corruption}-{item.severity}.json" != name:
            raise ReportError(f"{self._files.path / name}: is damaged; `bench stress` repeats it")
        if not self._is_own(item):
            raise ReportError(f"{self._files.path / name}: belongs to another run; delete it")
        return item

    def _is_own(self, item: StressResult) -> bool:
        return item.run_id == self._run_id and len(item.predictions) == self._images

    def write(self, result: StressResult) -> None:
        """Store the predictions under one condition."""
        self._files.path.mkdir(exist_ok=True)
        self._files.write(f"{result.corruption}-{result.severity}.json", result)
