"""Interface of a runtime, which builds and loads the files of a variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from benchmark.export.exported import Exported

Images = npt.NDArray[np.uint8]
"""RGB images of the run's size, uint8 [n, size, size, 3]."""
Probabilities = npt.NDArray[np.float32]
"""Class probabilities, float32 [n, classes]."""
Predict = Callable[[Images], Probabilities]


@dataclass(frozen=True)
class BuildContext:
    """Inputs for building the files of a variant."""

    network: Callable[[], Exported]
    """Builds the run's network for inference, with preprocessing and temperature, in float32."""
    onnx: Path | None
    """The same as an ONNX file; None while the ONNX file itself is built."""
    card: str
    """Metadata for users of the file, as JSON: classes, image size, temperature."""
    image_size: int
    """Side of the input images in pixels."""
    calibration: Callable[[], Images]
    """Reads training images to calibrate with."""
    validation: Callable[[], tuple[Images, npt.NDArray[np.int64]]]
    """Reads validation images and their class numbers [n], to judge a precision by."""
    max_drop: float | None
    """Points of validation accuracy that int8 may lose; None for no limit."""


@dataclass(frozen=True)
class LoadContext:
    """Location of a variant's files, and options to run them."""

    folder: Path
    run: Path
    """Folder of the run."""
    threads: int
    """Number of threads for one prediction."""


class Runtime(Protocol):
    """A runtime at one precision. Plug-ins provide one by an entry point in `bench.variants`."""

    title: str
    """Runtime and precision in words."""
    precision: str
    """`float32`, or the lower precision of the arithmetic: `bfloat16`, `int8`."""

    def build(self, context: BuildContext, folder: Path) -> None:
        """Write the files to an empty folder. Exceptions are reported as the variant's error."""

    def load(self, context: LoadContext) -> Predict:
        """Open the files; the returned function takes any number of images."""

    def version(self) -> str:
        """Return the library and its version, such as `onnxruntime 1.20.1`."""
