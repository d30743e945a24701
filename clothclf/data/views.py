"""Order and augmentation parameters of one epoch, drawn from the seed and the epoch number."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clothclf.settings import AugmentSettings

ASPECT = math.log(4 / 3)
"""Logarithm of the maximum aspect ratio of a resized crop, for width by height and the reverse."""


@dataclass(frozen=True)
class Views:
    """Order and augmentation of the training images of one epoch, drawn before it starts."""

    order: npt.NDArray[np.int64]
    """Image indices [n] in training order: a permutation, unless classes are balanced."""
    flip: npt.NDArray[np.bool_]
    """Whether to flip the image at each position of the order [n]."""
    shift: npt.NDArray[np.int64]
    """Row and column of the crop in the padded image, in pixels [n, 2]."""
    box: npt.NDArray[np.float64] | None = None
    """Top, left, height and width of a resized crop, as fractions of the image's side [n, 4]."""
    seeds: npt.NDArray[np.int64] | None = None
    """Seeds for RandAugment, erasing, and mixing of the batch that starts there [n, 3]."""

    def digest(self) -> str:
        """Hash all arrays, to show that two epochs are identical."""
        parts = (self.order, self.flip, self.shift, self.box, self.seeds)
        text = b"".join(np.ascontiguousarray(part).tobytes() for part in parts if part is not None)
        return hashlib.sha256(text).hexdigest()[:12]


def draw_views(
    count: int,
    epoch: int,
    seed: int,
    augment: AugmentSettings,
    classes: npt.NDArray[np.int64] | None = None,
) -> Views:
    """Draw an epoch of `count` images from the seed and the epoch number (from 1).

    With `classes`, the class index of each image [count], all classes are drawn equally often.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(count) if classes is None else _draw_evenly(classes, rng)
    flip = rng.random(count) < 0.5 if augment.horizontal_flip else np.zeros(count, dtype=bool)
    shift = rng.integers(0, 2 * augment.crop_padding + 1, size=(count, 2))
    min_area = augment.random_resized_crop
    box = None if min_area is None else _draw_boxes(count, min_area, rng)
    seeds = None
    if augment.draws_by_image or augment.mixes:
        seeds = rng.integers(0, 2**32, size=(count, 3))
    return Views(order, flip, shift, box, seeds)


def _draw_evenly(classes: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw `len(classes)` images with equal numbers of each class, within one.

    Every image of a class is drawn before any of them repeats.
    """
    kinds = np.unique(classes)
    needed = np.full(len(kinds), len(classes) // len(kinds))
    needed[rng.permutation(len(kinds))[: len(classes) % len(kinds)]] += 1
    drawn = []
    for kind, number in zip(kinds, needed, strict=True):
        own = np.flatnonzero(classes == kind)
        rounds = [rng.permutation(own) for _ in range(-(-number // len(own)))]
        drawn.append(np.concatenate(rounds)[:number])
    return rng.permutation(np.concatenate(drawn))


def _draw_boxes(count: int, min_area: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw rectangles [count, 4] that cover from `min_area` to all of a square's area."""
    area = rng.uniform(min_area, 1, count)
    longer = np.exp(rng.uniform(-ASPECT, ASPECT, count) / 2)
    # Clip rectangles that are too long for the square.
    height, width = np.minimum(np.sqrt(area) / longer, 1), np.minimum(np.sqrt(area) * longer, 1)
    top, left = rng.random(count) * (1 - height), rng.random(count) * (1 - width)
    return np.stack([top, left, height, width], axis=1)
