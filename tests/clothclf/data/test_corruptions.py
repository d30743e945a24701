"""Corruptions: deterministic, of the expected kind, and stronger with severity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clothclf.data import corruption_names
from clothclf.data.corruption_names import SEVERITIES
from clothclf.data.corruptions import CORRUPTIONS, _filtered, corrupt


def photos(count: int = 6, side: int = 64) -> np.ndarray:
    """Smooth random images with dark and bright parts."""
    drawn = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(drawn, size=(side, side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_repeatable_and_grows_with_severity(name: str) -> None:
    images = photos()
    original = images.copy()
    changed = [corrupt(images, name, severity) for severity in SEVERITIES]
    assert np.array_equal(images, original)
    assert all(item.shape == images.shape and item.dtype == np.uint8 for item in changed)
    assert np.array_equal(changed[2], corrupt(images, name, 3))
    errors = [np.abs(item.astype(float) - images).mean() for item in changed]
    assert errors[0] > 0
    assert errors[-1] > errors[0]


def test_images_are_corrupted_alike_whatever_their_number() -> None:
    images = photos(300, side=16)
    noisy = corrupt(images, "gaussian_noise", 2)
    assert np.array_equal(noisy[:128], corrupt(images[:128], "gaussian_noise", 2))
    assert not np.array_equal(noisy[:128] - images[:128], noisy[128:256] - images[128:256])


def test_a_filter_is_centred_and_keeps_a_constant() -> None:
    images = torch.zeros(2, 3, 9, 11)
    images[0, :, 4, 5] = 1
    images[1] = 0.25
    kernels = torch.stack([torch.ones(5, 5), torch.eye(5)])
    result = _filtered(images, kernels)
    expected = torch.zeros(9, 11)
    expected[2:7, 3:8] = 1 / 25
    torch.testing.assert_close(result[0, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(result[1], images[1], atol=1e-6, rtol=0)


def test_contrast_keeps_the_mean_and_brightness_keeps_the_hue() -> None:
    images = photos()
    flat = corrupt(images, "contrast", 5)
    within = [part.std((1, 2)).mean() for part in (flat, images)]
    assert within[0] == pytest.approx(0.05 * within[1], rel=0.1)
    assert flat.mean() == pytest.approx(images.mean(), abs=1)
    red = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    red[..., 0] = 100
    assert corrupt(red, "brightness", 2)[0, 0, 0].tolist() == [151, 0, 0]


def test_the_command_offers_all_corruptions() -> None:
    assert tuple(CORRUPTIONS) == corruption_names.CORRUPTIONS
