"""Images with unusual brightness or contrast are detected."""

from __future__ import annotations

import numpy as np
import pytest

from clothclf.data.audit.unusual_images import BLANK, BRIGHT, DARK, FLAT, measure_images


@pytest.mark.parametrize(
    ("low", "high", "oddity"),
    [
        (0, 256, ""),
        (200, 201, BLANK),
        (120, 130, FLAT),
        (0, 40, DARK),
        (243, 256, BRIGHT),
    ],
)
def test_a_image_is_odd_by_the_levels_that_it_has(low: int, high: int, oddity: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(low, high, (3, 112, 112, 1), dtype=np.uint8).repeat(3, axis=3)
    result = measure_images(pixels, np.array([2, 0]))
    assert result["oddity"].tolist() == [oddity] * 2


def test_brightness_is_measured_row_by_row_in_the_order_asked_for() -> None:
    pixels = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    pixels[1], pixels[2, :8] = 100, 200
    result = measure_images(pixels, np.array([2, 1, 0]))
    assert result["brightness"].tolist() == pytest.approx([100, 100, 0], abs=0.01)
    assert result["contrast"].tolist() == pytest.approx([100, 0, 0], abs=0.01)
