"""From the bytes of an image to RGB pixels, whatever its format; hostile files are refused."""

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
"""Larger images are refused before they are decoded (64 megapixels take 192 MB as RGB)."""
MAX_SIDE = 65_535
"""Resizing one much longer line of pixels would take gigabytes of weights."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
HEIC = "HEIC or AVIF, which is not read: convert to JPEG"
_HEIC_BRANDS = (
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    *(b"avif", b"avis"),
)
"""What stands at the beginning of such files."""


SHARP_SIDE = 1024
"""Large JPEGs are decoded at a half, a quarter or an eighth, the smallest whose sides are still so
long: no image is looked at larger, and photographs take a third of the time."""

BYTES_PER_PIXEL = 20
"""Of an image while it is decoded and converted, whatever its mode, at most."""
_IMAGES = Budget(MAX_PIXELS * BYTES_PER_PIXEL)
"""Of all threads together, on however many cores."""


@dataclass(frozen=True)
class Decoded:
    """An RGB image and how it was stored."""

    image: Image.Image
    """Upright; smaller than stored where that was a large JPEG."""
    stored_mode: str
    """Pillow's mode of the file: RGB, L, CMYK, P, RGBA, I;16 …"""
    stored_size: tuple[int, int]
    """Width and height in pixels, upright."""


@contextlib.contextmanager
def decoding(content: bytes) -> Iterator[Decoded]:
    """Decode an image to RGB: rotated as its EXIF says, transparency on white, first frame only.

    Until the block ends, the memory that the image takes is spoken for. Raises DataError where
    the file is no image, is cut short, is too large, or would take too long.
    """
    try:
        beside = inspect(content)
        image = _open(content)
    except Exception as error:
        raise _told(error, content) from None
    stored = image.size
    if min(stored) >= 2 * SHARP_SIDE:
        scale = SHARP_SIDE / min(stored)
        image.draft(None, (math.ceil(stored[0] * scale), math.ceil(stored[1] * scale)))
    with _IMAGES.claim(image.width * image.height * BYTES_PER_PIXEL + beside):
        try:
            decoded = _decode(image, stored)
        except Exception as error:
            raise _told(error, content) from None
        del image
        yield decoded


def _open(content: bytes) -> ImageFile.ImageFile:
    """A file whose header is read; raises DataError where it says of too much."""
    file = limited(content)
    image = Image.open(file, formats=FORMATS)
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(f"{image.width} x {image.height} pixels are too many")
    if max(image.size) > MAX_SIDE:
        raise DataError(f"{image.width} x {image.height} pixels are too long a line")
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
    """Of 16-bit colours Pillow keeps the upper 8 bits, but not of the one that is clear."""
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and image.tile[0].args == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def resized(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An image as uint8 [size, size, 3], as training and prediction see it."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def pixel_hash(image: Image.Image) -> str:
    """A hash of an image's pixels and size: equal for twins, whatever their files are."""
    digest = hashlib.blake2b(digest_size=16)
    # In strips: whole, the pixels of a photograph would be in memory twice.
    for _, strip in strips(image):
        digest.update(strip.tobytes())
    digest.update(f"{image.width}x{image.height}".encode())
    return digest.hexdigest()


def _told(error: Exception, content: bytes) -> DataError:
    """What is wrong with a file, whatever its decoder raised: many kinds, where it is damaged."""
    if isinstance(error, DataError):
        return error
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        return DataError(HEIC)
    # An object's address differs from process to process, and equal data have equal findings.
    text = _OBJECT.sub("", str(error))
    return DataError(text.splitlines()[0] if text else "no image")


_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")
