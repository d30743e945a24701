"""Augmentation with timm: RandAugment, random erasing, mixup and cutmix.

timm uses the global random generators of Python and NumPy. They are seeded per image or batch and
restored afterwards, so that augmentation does not depend on what ran before.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data import Mixup, rand_augment_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.nn import functional

from clothclf.settings import AugmentSettings

Seeds = npt.NDArray[np.int64]


class Changes:
    """timm's augmentations of a recipe, applied after crops and horizontal flips."""

    def __init__(
        self, augment: AugmentSettings, mean: tuple[float, ...], classes: int, device: torch.device
    ) -> None:
        """Create the transforms; `mean` per channel (images scaled to 0..1) fills empty areas."""
        self._rand_augment: Any = None
        self._eraser: Any = None
        self._mixer: Any = None
        if augment.rand_augment is not None:
            fill = tuple(min(255, round(255 * value)) for value in mean)
            self._rand_augment = rand_augment_transform(augment.rand_augment, {"img_mean": fill})
        if augment.random_erasing:
            self._eraser = RandomErasing(augment.random_erasing, mode="const", device=str(device))
        if augment.mixes:
            self._mixer = Mixup(
                augment.mixup,
                augment.cutmix,
                prob=augment.mix_probability,
                label_smoothing=0.0,
                num_classes=classes,
            )
        self._classes = classes

    @property
    def on_cpu(self) -> bool:
        """Whether Pillow changes pixels on the CPU, before they are copied to the device."""
        return self._rand_augment is not None

    def to_pixels(self, pixels: Tensor, seeds: Seeds | None) -> Tensor:
        """Apply RandAugment to images uint8 [n, size, size, 3] with their `seeds` [n, 3]."""
        if self._rand_augment is None or seeds is None:
            return pixels
        changed = torch.empty_like(pixels, memory_format=torch.contiguous_format)
        with _generators_restored():
            for index, original in enumerate(pixels.numpy()):
                _seed(seeds[index, 0])
                image = self._rand_augment(Image.fromarray(original))
                changed[index] = torch.from_numpy(np.array(image))
        return changed

    def to_inputs(
        self, inputs: Tensor, targets: Tensor, seeds: Seeds | None
    ) -> tuple[Tensor, Tensor]:
        """Apply random erasing and mixup or cutmix to normalized images [n, 3, size, size].

        Changes `inputs` in place. Mixing turns class indices [n] into soft targets float32
        [n, classes]. Images are paired from both ends of the batch; in a batch of odd size the
        last image is not mixed.
        """
        if seeds is None:
            return inputs, targets
        with _generators_restored():
            if self._eraser is not None:
                for index, original in enumerate(inputs):
                    _seed(seeds[index, 1])
                    self._eraser(original)
            if self._mixer is not None:
                _seed(seeds[0, 2])
                return self._mix(inputs, targets)
        return inputs, targets

    def _mix(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        paired = len(inputs) - len(inputs) % 2
        shares = functional.one_hot(targets, self._classes).float()
        if paired:
            # timm's Mixup works in place and requires an even batch size.
            _, shares[:paired] = self._mixer(inputs[:paired], targets[:paired])
        return inputs, shares


@contextlib.contextmanager
def _generators_restored() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _seed(seed: np.int64) -> None:
    random.seed(int(seed))
    np.random.seed(int(seed))
