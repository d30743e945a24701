"""Standard corruptions of images, such as noise, blur and compression, at five severities.

Names, families and parameters are those of ImageNet-C (Hendrycks & Dietterich 2019,
arXiv:1903.12261), which are for images of 224 px; lengths scale with the side of the images. Glass
blur, elastic transform, snow and frost are missing: the last two overlay photographs.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from clothclf.data.corruption_names import SEVERITIES

VERSION = 1
"""Increased whenever corrupted images change."""
NATIVE_SIDE = 224
"""Side in pixels of the images that lengths are given for."""
CHUNK = 128
"""Number of images to corrupt at once, to bound memory."""

Images = npt.NDArray[np.uint8]
Apply = Callable[[Tensor, Any, Generator], Tensor]
"""Corrupts images [n, 3, height, width] from 0 to 1 with the parameter of one severity."""


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption."""

    name: str
    family: str
    """noise, blur, weather or digital."""
    parameters: tuple[Any, ...]
    """Parameter of each severity; its meaning depends on the corruption."""
    apply: Apply


def corrupt(images: Images, name: str, severity: int) -> Images:
    """Corrupt images uint8 [n, height, width, 3]; equal input gives equal output.

    `name` is a key of `CORRUPTIONS`, and `severity` is 1 to 5.
    """
    corruption = CORRUPTIONS[name]
    parameter = corruption.parameters[SEVERITIES.index(severity)]
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name}-{severity}".encode()))
    result = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        part = torch.from_numpy(images[start : start + CHUNK]).permute(0, 3, 1, 2)
        changed = corruption.apply(part.contiguous().float() / 255, parameter, generator)
        levels = (changed.clamp(0, 1) * 255).round().to(torch.uint8)
        result[start : start + CHUNK] = levels.permute(0, 2, 3, 1).numpy()
    return result


def _gaussian_noise(images: Tensor, deviation: float, generator: Generator) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=generator)


def _shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    return torch.poisson(images * photons, generator=generator) / photons


def _impulse_noise(images: Tensor, share: float, generator: Generator) -> Tensor:
    drawn = torch.rand(images.shape, generator=generator)
    salt = torch.where(drawn < share / 2, torch.ones(()), images)
    return torch.where(drawn > 1 - share / 2, torch.zeros(()), salt)


def _defocus_blur(images: Tensor, radius: float, _: Generator) -> Tensor:
    radius *= images.shape[-1] / NATIVE_SIDE
    x, y = _kernel_grid(radius)
    disk = (radius + 0.5 - torch.hypot(x, y)).clamp(0, 1)
    return _filtered(images, disk[None])


def _motion_blur(images: Tensor, parameter: tuple[int, int], generator: Generator) -> Tensor:
    """Blur along one line per image, at most 45 degrees from the horizontal."""
    radius, deviation = (length * images.shape[-1] / NATIVE_SIDE for length in parameter)
    turns = (torch.rand(len(images), 1, 1, generator=generator) - 0.5) * math.pi / 2
    x, y = _kernel_grid(radius)
    along = x * turns.cos() + y * turns.sin()
    across = y * turns.cos() - x * turns.sin()
    line = (1 - across.abs()).clamp(0) * torch.exp(-0.5 * (along / deviation) ** 2)
    return _filtered(images, line * (along.abs() <= radius + 0.5))


def _zoom_blur(images: Tensor, parameter: tuple[float, float], _: Generator) -> Tensor:
    """Mean of the image and its magnifications, from 1 up to a factor in steps."""
    most, step = parameter
    side = images.shape[-1]
    total = images.clone()
    factors = np.arange(1, most, step)
    for factor in factors:
        cropped = transforms.center_crop(images, [round(side / float(factor))])
        total += functional.interpolate(cropped, size=images.shape[-2:], mode="bilinear")
    return total / (len(factors) + 1)


def _fog(images: Tensor, parameter: tuple[float, float], generator: Generator) -> Tensor:
    """Add smooth noise: octaves whose strength decays by a factor from one to the next."""
    strength, decay = parameter
    fog = torch.zeros(len(images), 1, *images.shape[-2:])
    cells = 2
    while cells <= images.shape[-1]:
        octave = torch.rand(len(images), 1, cells, cells, generator=generator)
        resized = functional.interpolate(octave, size=images.shape[-2:], mode="bicubic")
        fog += resized * decay ** -math.log2(cells)
        cells *= 2
    low, high = fog.amin((1, 2, 3), keepdim=True), fog.amax((1, 2, 3), keepdim=True)
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + strength * (fog - low) / (high - low)) * brightest / (brightest + strength)


def _brightness(images: Tensor, added: float, _: Generator) -> Tensor:
    """Add to the value (of hue, saturation, value)."""
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp(min=1e-6), brighter)


def _contrast(images: Tensor, factor: float, _: Generator) -> Tensor:
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * factor + mean


def _pixelate(images: Tensor, factor: float, _: Generator) -> Tensor:
    small = [max(1, round(factor * side)) for side in images.shape[-2:]]
    shrunk = functional.interpolate(images, size=small, mode="area")
    return functional.interpolate(shrunk, size=images.shape[-2:], mode="nearest-exact")


def _jpeg_compression(images: Tensor, quality: int, _: Generator) -> Tensor:
    levels = (images * 255).round().to(torch.uint8)
    return torch.stack([transforms.jpeg(image, quality) for image in levels]).float() / 255


def _kernel_grid(radius: float) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical offsets in pixels of a square kernel that holds a radius."""
    offsets = torch.arange(-math.ceil(radius), math.ceil(radius) + 1, dtype=torch.float32)
    return offsets[None, :], offsets[:, None]


def _filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter with one kernel [1, k, k] or one per image [n, k, k], mirrored at the border.

    Uses Fourier transforms, whose time does not grow with the kernel.
    """
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    radius = kernels.shape[-1] // 2
    height, width = images.shape[-2:]
    padded = functional.pad(images, [radius] * 4, mode="reflect")
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels, s=size)[:, None]
    full: Tensor = torch.fft.irfft2(spectrum, s=size)
    # Circular convolution shifts by the radius of the kernel, as the padding does.
    return full[..., 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]


CORRUPTIONS = {
    item.name: item
    for item in (
        Corruption("gaussian_noise", "noise", (0.08, 0.12, 0.18, 0.26, 0.38), _gaussian_noise),
        Corruption("shot_noise", "noise", (60, 25, 12, 5, 3), _shot_noise),
        Corruption("impulse_noise", "noise", (0.03, 0.06, 0.09, 0.17, 0.27), _impulse_noise),
        Corruption("defocus_blur", "blur", (3, 4, 6, 8, 10), _defocus_blur),
        Corruption(
            "motion_blur", "blur", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), _motion_blur
        ),
        Corruption(
            "zoom_blur",
            "blur",
            ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
            _zoom_blur,
        ),
        Corruption("fog", "weather", ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)), _fog),
        Corruption("brightness", "weather", (0.1, 0.2, 0.3, 0.4, 0.5), _brightness),
        Corruption("contrast", "digital", (0.4, 0.3, 0.2, 0.1, 0.05), _contrast),
        Corruption("pixelate", "digital", (0.6, 0.5, 0.4, 0.3, 0.25), _pixelate),
        Corruption("jpeg_compression", "digital", (25, 18, 15, 10, 7), _jpeg_compression),
    )
}
"""All corruptions by name."""
