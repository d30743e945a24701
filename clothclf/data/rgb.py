"""Convert decoded images of any mode to upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from clothclf.errors import DataError

LEVELS = "image has pixel values of unknown range; save it with 8 or 16 bits"
STRIP_PIXELS = 2**20
"""Pixels converted at a time, so that no second copy of a whole image is in memory."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1
"""TIFF tags for bits per sample and sample format, and the value for unsigned integers."""
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def upright(image: Image.Image, loaded: Image.Image) -> Image.Image:
    """Apply the orientation in the EXIF or XMP of `loaded`, the original file, to `image`."""
    turn = _TURNS.get(loaded.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, with transparency on white.

    Unsigned levels of up to 16 bits are scaled by the full range of their bits. Signed levels,
    32-bit levels and floats declare no range: the first of 0 to 1, 255, 65,535 and the integer's
    maximum is used that contains all levels and whose sixteenth they reach. Raises DataError if
    there is none.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_levels(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def strips(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Yield an image in strips of whole rows, each with its box (left, top, right, bottom)."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def _on_white(image: Image.Image) -> Image.Image:
    result = Image.new("RGB", image.size)
    for box, strip in strips(image):
        layer = strip.convert("RGBA")
        context = Image.new("RGBA", layer.size, "white")
        result.paste(Image.alpha_composite(context, layer).convert("RGB"), box)
    return result


def _from_levels(image: Image.Image) -> Image.Image:
    white = _white_level(image)
    clear = image.info.get("transparency")
    result = Image.new("RGB", image.size)
    for box, strip in strips(image):
        levels = _levels(image, strip)
        scaled = np.nan_to_num(levels.astype(np.float64) / white * 255, nan=0.0)
        grey = np.clip(scaled, 0, 255).astype(np.uint8)
        if _is_inverted(image):
            grey = 255 - grey
        if isinstance(clear, int):
            grey[levels == clear] = 255
        result.paste(Image.fromarray(grey).convert("RGB"), box)
    return result


def _levels(image: Image.Image, strip: Image.Image) -> npt.NDArray[np.generic]:
    levels = np.asarray(strip)
    # Pillow stores unsigned 32-bit levels as signed.
    return levels.view(np.uint32) if _declared(image) == (32, _UNSIGNED) else levels


def _declared(image: Image.Image) -> tuple[int, int]:
    """Return the bits per sample and the sample format that a TIFF declares."""
    tags = getattr(image, "tag_v2", {})
    bits, kind = tags.get(_BITS, (16,)), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return bits[0], kind[0]


def _is_inverted(image: Image.Image) -> bool:
    """Whether level 0 is white, which Pillow applies only to levels of up to 8 bits."""
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _white_level(image: Image.Image) -> float:
    """Return the level that maps to 255; not the maximum, which would brighten dark images."""
    bits, kind = _declared(image)
    if image.mode.startswith("I;16"):
        return 2.0**bits - 1
    low, high = _extremes(image)
    overshoot = 0.05 if image.mode == "F" else 0.0  # resampling of floats overshoots
    if 0 < high < 1 / 255:  # all would become black
        raise DataError(f"{LEVELS}: {low:g} to {high:g}")
    for white in (1.0, 255.0, *_wide_whites(image.mode, bits, kind)):
        fills = high >= white / 16 or white == 1
        if fills and -overshoot * white <= low and high <= (1 + overshoot) * white:
            return white
    raise DataError(f"{LEVELS}: {low:g} to {high:g}")


def _wide_whites(mode: str, bits: int, kind: int) -> tuple[float, ...]:
    if mode == "F":
        return (65535.0,)
    if bits == 16:
        return (2.0**15 - 1,)
    return (65535.0, 2.0 ** (32 if kind == _UNSIGNED else 31) - 1)


def _extremes(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and highest level, including 0 and without NaN and infinities."""
    low = high = 0.0
    for _, strip in strips(image):
        levels = _levels(image, strip)
        known = levels[np.isfinite(levels)] if image.mode == "F" else levels
        low = min(low, float(known.min(initial=0)))
        high = max(high, float(known.max(initial=0)))
    return low, high
