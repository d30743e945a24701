"""From the bytes of a picture to RGB pixels, whatever its format; hostile files are refused."""

from __future__ import annotations

import contextlib
import io
import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from clothclf.errors import DataError

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded (64 megapixels take 192 MB as RGB)."""
MAX_SIDE = 65_535
"""Resizing one much longer line of pixels would take gigabytes of weights."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
HEIC = "HEIC or AVIF, which is not read: convert to JPEG"


LARGE_PIXELS = 16_000_000
ROWS_AT_ONCE = 64
_LARGE = threading.Semaphore(4)
"""So many large pictures are decoded side by side: each may take most of a gigabyte."""


@dataclass(frozen=True)
class Decoded:
    """An RGB picture and how it was stored."""

    image: Image.Image
    stored_mode: str
    """Pillow's mode of the file: RGB, L, CMYK, P, RGBA, I;16 …"""


def decode_rgb(content: bytes) -> Decoded:
    """Decode a picture to RGB: rotated as its EXIF says, transparency on white, first frame only.

    Raises DataError where the file is no picture, is cut short or is too large.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{image.width} x {image.height} pixels are too many")
        if max(image.size) > MAX_SIDE:
            raise DataError(f"{image.width} x {image.height} pixels are too long a line")
        with _LARGE if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
            image.load()
            mode = image.mode
            upright = ImageOps.exif_transpose(image)
            return Decoded(_to_rgb(upright), mode)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(str(error).splitlines()[0] if str(error) else "no picture") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more, which RGB would clip
        levels = np.asarray(image)
        # Not by the picture's own brightest level, or a dark 16-bit picture would turn bright.
        top = 255.0 if image.mode == "F" and np.nanmax(levels, initial=0) <= 255 else 65535.0
        scaled = np.empty(levels.shape, dtype=np.uint8)
        for start in range(0, len(levels), ROWS_AT_ONCE):
            rows = levels[start : start + ROWS_AT_ONCE].astype(np.float64)
            known = np.nan_to_num(rows / top * 255, nan=0.0)
            scaled[start : start + ROWS_AT_ONCE] = np.clip(known, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")
