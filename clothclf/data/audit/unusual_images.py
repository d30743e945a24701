"""Brightness and contrast of each image, and images with unusual values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.audit.hashes import BLANK_BELOW, LUMA
from clothclf.data.checked import Images

BLANK = "one colour all over"
FLAT = "hardly any contrast"
DARK = "very dark"
BRIGHT = "very bright"

FLAT_BELOW = 8.0
"""Minimum standard deviation of the brightness, in levels of 0 to 255."""
DARK_BELOW, BRIGHT_ABOVE = 48.0, 240.0
"""Limits in levels of 0 to 255: an image is unusual if at least 95 % of its pixels are beyond."""
LOOKED_AT = 56
"""Approximate number of pixels sampled per side."""
IMAGES_AT_ONCE = 512


def measure_images(pixels: Images, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Measure the images at `rows` of an array uint8 [images, size, size, 3]; one row per image.

    `brightness` and `contrast` are the mean and standard deviation of the brightness, in levels of
    0 to 255; `oddity` is BLANK, FLAT, DARK, BRIGHT or empty.
    """
    step = max(1, pixels.shape[1] // LOOKED_AT)
    # Mean, standard deviation, and 5th and 95th percentile.
    figures = np.empty((4, len(rows)))
    for start in range(0, len(rows), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        chosen = np.stack([pixels[row, ::step, ::step] for row in rows[part]])
        levels = (chosen @ np.array(LUMA, dtype=np.float32)).reshape(len(chosen), -1)
        figures[0, part], figures[1, part] = levels.mean(axis=1), levels.std(axis=1)
        figures[2:, part] = np.percentile(levels, [5, 95], axis=1)
    brightness, contrast, low, high = figures
    oddity = np.select(
        [contrast < BLANK_BELOW, high < DARK_BELOW, low > BRIGHT_ABOVE, contrast < FLAT_BELOW],
        [BLANK, DARK, BRIGHT, FLAT],
        default="",
    )
    table: pd.DataFrame = pd.DataFrame(
        {"brightness": brightness, "contrast": contrast, "oddity": oddity.astype(object)}
    )
    return table
