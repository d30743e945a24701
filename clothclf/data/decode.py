"""From the bytes of an image to RGB pixels, whatever its format; hostile files are refused."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

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

ROWS_AT_ONCE = 64
ROOM_PIXELS = 64_000_000
"""So many pixels are decoded side by side, on however many cores: each takes up to 20 bytes."""


class _Room:
    """Room for pixels: an image waits until those before it have left enough."""

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._all = pixels
        self._left = threading.Condition()

    @contextlib.contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        wanted = min(pixels, self._all)
        with self._left:
            self._left.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._left:
                self._free += wanted
                self._left.notify_all()


_ROOM = _Room(ROOM_PIXELS)


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
    the file is no image, is cut short or is too large.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{image.width} x {image.height} pixels are too many")
        if max(image.size) > MAX_SIDE:
            raise DataError(f"{image.width} x {image.height} pixels are too long a line")
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise _told(error, content) from None
    stored = image.size
    if min(stored) >= 2 * SHARP_SIDE:
        scale = SHARP_SIDE / min(stored)
        image.draft(None, (math.ceil(stored[0] * scale), math.ceil(stored[1] * scale)))
    with _ROOM.take(image.width * image.height):
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            turned = upright.size != image.size
            size = stored[::-1] if turned else stored
            decoded = Decoded(_to_rgb(upright), image.mode, size)
        except Exception as error:
            raise _told(error, content) from None
        del image, upright
        yield decoded


def resized(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An image as uint8 [size, size, 3], as training and prediction see it."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def pixel_hash(image: Image.Image) -> str:
    """A hash of an image's pixels and size: equal for twins, whatever their files are."""
    digest = hashlib.blake2b(digest_size=16)
    # In strips: whole, the pixels of a photograph would be in memory twice.
    for top in range(0, image.height, ROWS_AT_ONCE):
        strip = (0, top, image.width, min(top + ROWS_AT_ONCE, image.height))
        digest.update(image.crop(strip).tobytes())
    digest.update(f"{image.width}x{image.height}".encode())
    return digest.hexdigest()


def _told(error: Exception, content: bytes) -> DataError:
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        return DataError(HEIC)
    # An object's address differs from process to process, and equal data have equal findings.
    told = _OBJECT.sub("", str(error))
    return DataError(told.splitlines()[0] if told else "no image")


_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more, which RGB would clip
        levels = np.asarray(image)
        # Not by the image's own brightest level, or a dark 16-bit image would turn bright.
        top = 255.0 if image.mode == "F" and np.nanmax(levels, initial=0) <= 255 else 65535.0
        scaled = np.empty(levels.shape, dtype=np.uint8)
        for start in range(0, len(levels), ROWS_AT_ONCE):
            rows = levels[start : start + ROWS_AT_ONCE].astype(np.float64)
            known = np.nan_to_num(rows / top * 255, nan=0.0)
            scaled[start : start + ROWS_AT_ONCE] = np.clip(known, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        context = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(context, layer).convert("RGB")
    return image.convert("RGB")
