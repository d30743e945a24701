"""Images of a run for its variants: for calibration and validation, and encoded ones."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.deploy.base import Images
from benchmark.errors import DeployError
from benchmark.runs.spec import RunSpec
from clothclf.data.dataset import SplitImages
from clothclf.data.sources import open_source
from clothclf.errors import DataError

CALIBRATION_IMAGES = 300
"""Number of training images to calibrate int8 with."""
MIN_CALIBRATION_IMAGES = 32
ENCODED_IMAGES = 8
"""Number of encoded images to time decoding with."""
QUALITY = 75


def calibration_images(train: SplitImages, seed: int, count: int = CALIBRATION_IMAGES) -> Images:
    """Draw training images, uint8 [n, size, size, 3].

    Raises DeployError if there are fewer than MIN_CALIBRATION_IMAGES.
    """
    if len(train) < MIN_CALIBRATION_IMAGES:
        raise DeployError(
            f"int8 needs at least {MIN_CALIBRATION_IMAGES} training images to calibrate with, and "
            f"the run has {len(train)}"
        )
    order = np.random.default_rng(seed).permutation(len(train))
    return train.images(np.sort(order[:count]))


def all_images(split: SplitImages) -> tuple[Images, npt.NDArray[np.int64]]:
    """Read all images of a split, with their class numbers [n]."""
    return split.images(np.arange(len(split))), split.targets


@dataclass(frozen=True)
class Encoded:
    """Encoded images, as an application receives them."""

    contents: tuple[bytes, ...]
    description: str
    """Format, size in pixels and origin."""


def encoded_images(spec: RunSpec, test: SplitImages, count: int = ENCODED_IMAGES) -> Encoded:
    """Read test images as stored, or encode decoded ones if the original files are missing."""
    ids = test.ids[:count]
    try:
        source = open_source(spec.data, spec.cache)
        contents = tuple(source.read_bytes(image_id) for image_id in ids)
        origin = "as stored"
    except (DataError, KeyError, OSError):
        images = test.images(np.arange(len(ids)))
        contents = tuple(as_jpeg(image) for image in images)
        origin = "resized and encoded again, because the originals are missing"
    return Encoded(contents, f"{_described(contents[0])}, {origin}")


def as_jpeg(image: Images) -> bytes:
    """Encode an image uint8 [height, width, 3] as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _described(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        return f"{image.format}, {image.width} x {image.height} px"
