"""Decode image files of any supported format to RGB; refuse hostile files."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from clothclf.data.budget import Budget
from clothclf.data.image_limits import (
    MAX_RUN_PIXELS,
    SLOW,
    LimitedFile,
    inspect,
    inspect_directories,
    limited,
)
from clothclf.data.rgb import strips, to_rgb, upright
from clothclf.errors import DataError

MAX_PIXELS = 64_000_000
"""Maximum number of pixels, checked before decoding (64 megapixels take 192 MB as RGB)."""
MAX_SIDE = 65_535
"""Maximum side in pixels. Resizing a much longer side would take gigabytes of weights."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
HEIC = "HEIC or AVIF is not supported; convert to JPEG"
_HEIC_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    *(b"avif", b"avis"),
)
"""Brands at the start of HEIC and AVIF files."""


SHARP_SIDE = 1024
"""Minimum side in pixels of JPEGs decoded at 1/2, 1/4 or 1/8 size. No image is used at a larger
size, and photographs decode in a third of the time."""

BYTES_PER_PIXEL = 20
"""Maximum memory per pixel while an image of any mode is decoded and converted, in bytes."""
_IMAGES = Budget(MAX_PIXELS * BYTES_PER_PIXEL)
"""Memory budget shared by all threads, whatever the number of cores."""


@dataclass(frozen=True)
class Decoded:
    """RGB image, and its mode and size in the file."""

    image: Image.Image
    """Upright RGB image; large JPEGs are smaller than stored."""
    stored_mode: str
    """Pillow mode of the file, such as RGB, L, CMYK, P, RGBA or I;16."""
    stored_size: tuple[int, int]
    """Width and height of the upright image in the file, in pixels."""


@contextlib.contextmanager
def decoding(content: bytes) -> Iterator[Decoded]:
    """Decode an image to RGB: EXIF orientation applied, transparency on white, first frame only.

    The image's memory is reserved until the block ends. Raises DataError if the file is not an
    image, is truncated or too large, or would take too long to decode.
    """
    try:
        beside = inspect(content)
        image = _open(content)
    except Exception as error:
        raise _data_error(error, content) from None
    stored = image.size
    if min(stored) >= 2 * SHARP_SIDE:
        scale = SHARP_SIDE / min(stored)
        image.draft(None, (math.ceil(stored[0] * scale), math.ceil(stored[1] * scale)))
    with _IMAGES.claim(image.width * image.height * BYTES_PER_PIXEL + beside):
        try:
            decoded = _decode(image, stored)
        except Exception as error:
            raise _data_error(error, content) from None
        del image
        yield decoded


def _open(content: bytes) -> ImageFile.ImageFile:
    """Open an image and read its header; raises DataError if it is too large."""
    file = limited(content)
    image = Image.open(file, formats=FORMATS)
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(f"{image.width} x {image.height} pixels are too many")
    if max(image.size) > MAX_SIDE:
        raise DataError(f"{image.width} x {image.height} pixels: one side is too long")
    if image.format == "BMP" and image.tile[0].codec_name == "bmp_rle":
        if pixels > MAX_RUN_PIXELS:
            raise DataError(f"{SLOW}: a run-length BMP of {pixels:,} pixels")
        if isinstance(file, LimitedFile):
            file.allow(2 * pixels)
    return image


def _decode(image: ImageFile.ImageFile, stored: tuple[int, int]) -> Decoded:
    if image.mode == "RGB" and image.format == "PNG":
        _shorten_transparency(image)
    image.load()
    if exif := image.info.get("exif"):
        inspect_directories(exif)
    mode = image.mode
    rgb = to_rgb(image)
    turned = upright(rgb, image)
    return Decoded(turned, mode, stored[::-1] if turned.size != rgb.size else stored)


def _shorten_transparency(image: ImageFile.ImageFile) -> None:
    """Reduce the transparent colour to 8 bits, as Pillow does for other 16-bit colours."""
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and image.tile[0].args == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def resized(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Resize an image to uint8 [size, size, 3], for training and prediction alike."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def pixel_hash(image: Image.Image) -> str:
    """Hash an image's pixels and size; equal for exact duplicates, whatever their file format."""
    digest = hashlib.blake2b(digest_size=16)
    # In strips, to avoid a second copy of a whole photograph in memory.
    for _, strip in strips(image):
        digest.update(strip.tobytes())
    digest.update(f"{image.width}x{image.height}".encode())
    return digest.hexdigest()


def _data_error(error: Exception, content: bytes) -> DataError:
    """Convert any exception of a decoder to a DataError that says what is wrong with the file."""
    if isinstance(error, DataError):
        return error
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        return DataError(HEIC)
    # Remove object addresses, which differ between processes, so that findings are reproducible.
    text = _OBJECT.sub("", str(error))
    return DataError(text.splitlines()[0] if text else "not an image")


_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")
