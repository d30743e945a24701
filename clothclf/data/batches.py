"""Shuffled, augmented and normalized batches of images, or of cached features, on a device.

An epoch depends only on the seed and the epoch number: order and augmentation are the same for
images and cached features, and a run can resume from any epoch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clothclf.data.crops import padded_crop, resized_crop
from clothclf.data.dataset import SplitImages
from clothclf.data.shard import ALL, Shard
from clothclf.data.views import Views, draw_views
from clothclf.settings import AugmentSettings

if TYPE_CHECKING:
    from clothclf.data.augment import Changes

Batch = tuple[Tensor, Tensor]
"""Inputs, and class indices int64 [n] or, for mixed images, soft targets float32 [n, classes]."""


class Batches(Protocol):
    """Data loading interface of the training loop."""

    def train(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield shuffled, augmented batches of an epoch (from 1); skip the first `done`."""

    def batch_sizes(self) -> list[int]:
        """Return the size of each training batch of an epoch; the last may be smaller.

        In distributed training, sizes are those of all processes together.
        """

    def held_out(self, split: str) -> Iterator[Batch]:
        """Yield batches of `valid` or `test`, in order, without augmentation."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, for images scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, pixels: Tensor) -> Tensor:
        """Normalize uint8 [n, size, size, 3] to float32 [n, 3, size, size], channels last."""
        mean, scale = self._on(pixels.device)
        # The permuted view of [n, h, w, c] is channels-last already, without a copy.
        return ((pixels.float() - mean) * scale).permute(0, 3, 1, 2)

    def undo(self, images: Tensor) -> Tensor:
        """Undo `apply`, without rounding: float32 [n, size, size, 3] in levels of 0..255."""
        mean, scale = self._on(images.device)
        return images.permute(0, 2, 3, 1) / scale + mean

    @functools.cache  # noqa: B019 - few instances, and they are frozen
    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation in levels of 0..255, copied to each device once."""
        mean = torch.tensor(self.mean, device=device) * 255
        return mean, 1 / (torch.tensor(self.std, device=device) * 255)


def training_parts(count: int, batch_size: int) -> list[slice]:
    """Split an epoch of `count` images into batches; the last may be smaller.

    A single remaining image joins the batch before it: batch norm fails on a batch of one.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and batch_size > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


class ImageBatches:
    """Batches of images from the pixel array, augmented on the training device."""

    def __init__(
        self,
        splits: dict[str, SplitImages],
        normalization: Normalization,
        augment: AugmentSettings,
        batch_size: int,
        seed: int,
        device: torch.device,
        resident: bool = False,
        sampling: Literal["natural", "balanced"] = "natural",
        shard: Shard = ALL,
    ) -> None:
        """Create batches of `splits` (train, valid and test); `batch_size` is for training.

        With `resident`, each split's pixels are copied to the device once and stay there.
        `sampling` is `train.sampling`. Yields the `shard`'s part of each training batch, and whole
        held-out batches in turn.
        """
        self.splits = splits
        self.normalization = normalization
        self.augment = augment
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.resident = resident
        self.sampling = sampling
        self.shard = shard
        self.held_out_batch_size = 64
        self._on_device: dict[str, Tensor] = {}

    def steps_per_epoch(self) -> int:
        """Return the number of training batches in an epoch."""
        return len(self.batch_sizes())

    def batch_sizes(self) -> list[int]:
        """Return the size of each training batch, of all processes together."""
        parts = training_parts(len(self.splits["train"]), self.batch_size)
        return [part.stop - part.start for part in parts]

    def views(self, epoch: int) -> Views:
        """Draw the order and augmentation of the training images of an epoch (from 1)."""
        train = self.splits["train"]
        classes = train.targets if self.sampling == "balanced" else None
        return draw_views(len(train), epoch, self.seed, self.augment, classes)

    def train(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield shuffled, augmented batches of an epoch (from 1); skip the first `done`."""
        views, changes = self.views(epoch), self._changes()
        device = self._augment_device(views, changes)
        read = self._reader("train", views.order, device)
        # Copied to the device once per epoch, so that no step waits for a copy.
        flip = torch.from_numpy(views.flip).to(device)
        shift = torch.from_numpy(views.shift).to(device)
        box = None if views.box is None else torch.from_numpy(views.box).float().to(device)
        targets = torch.from_numpy(self.splits["train"].targets[views.order]).to(self.device)
        for batch in training_parts(len(flip), self.batch_size)[done:]:
            own = self.shard.of(batch)
            # Mixing pairs images across the whole batch, so each process builds all of it first.
            part = batch if self.augment.mixes else own
            pixels = padded_crop(read(part), shift[part], self.augment.crop_padding)
            if box is not None:
                pixels = resized_crop(pixels, box[part])
            pixels = torch.where(flip[part, None, None, None], pixels.flip(2), pixels)
            if changes is None:
                yield self.normalization.apply(pixels.to(self.device)), targets[part]
                continue
            seeds = None if views.seeds is None else views.seeds[part]
            pixels = changes.to_pixels(pixels, seeds).to(self.device)
            augmented = changes.to_inputs(self.normalization.apply(pixels), targets[part], seeds)
            own_rows = slice(own.start - part.start, own.stop - part.start)
            yield augmented[0][own_rows], augmented[1][own_rows]

    def _augment_device(self, views: Views, changes: Changes | None) -> torch.device:
        """Return the device for augmentation: the CPU for Pillow, and for crops that MPS lacks."""
        by_pillow = changes is not None and changes.on_cpu
        unsupported = self.device.type == "mps" and views.box is not None
        return torch.device("cpu") if by_pillow or unsupported else self.device

    def _changes(self) -> Changes | None:
        """Create timm's augmentations, or None if the recipe uses none of them."""
        if not (self.augment.draws_by_image or self.augment.mixes):
            return None
        from clothclf.data.augment import Changes  # importing timm is slow, and rarely needed

        classes = 1 + max(int(images.targets.max()) for images in self.splits.values())
        return Changes(self.augment, self.normalization.mean, classes, self.device)

    def held_out(self, split: str) -> Iterator[Batch]:
        """Yield batches of one split, in order, without augmentation."""
        yield from self.in_order(split, shard=self.shard)

    def in_order(self, split: str, flip: bool = False, shard: Shard = ALL) -> Iterator[Batch]:
        """Yield batches of one split in order, horizontally flipped if `flip`.

        In distributed training, processes take whole batches in turn.
        """
        count = len(self.splits[split])
        read = self._reader(split, np.arange(count), self.device)
        targets = torch.from_numpy(self.splits[split].targets).to(self.device)
        size = self.held_out_batch_size
        for start in range(shard.rank * size, count, shard.processes * size):
            part = slice(start, start + size)
            pixels = read(part)
            if flip:
                pixels = pixels.flip(2)
            yield self.normalization.apply(pixels), targets[part]

    def _reader(
        self, split: str, order: npt.NDArray[np.int64], device: torch.device
    ) -> Callable[[slice], Tensor]:
        """Return a function that reads images uint8 [n, size, size, 3] for a slice of `order`."""
        images = self.splits[split]
        if not self.resident or device != self.device:
            return lambda part: torch.from_numpy(images.images(order[part])).to(device)
        if split not in self._on_device:
            self._on_device[split] = _copy_to_device(images, self.device)
        pixels, indices = self._on_device[split], torch.from_numpy(order).to(self.device)
        return lambda part: pixels[indices[part]]


def _copy_to_device(images: SplitImages, device: torch.device) -> Tensor:
    """Copy all images of a split to a device in chunks: uint8 [n, size, size, 3]."""
    shape = (len(images), *images.pixels.shape[1:])
    everything = torch.empty(shape, dtype=torch.uint8, device=device)
    for indices in np.array_split(np.arange(len(images)), max(1, len(images) // 1024)):
        everything[indices[0] : indices[-1] + 1] = torch.from_numpy(images.images(indices))
    return everything


class FeatureBatches:
    """Batches of cached features of a frozen backbone, in the same order as the images."""

    def __init__(
        self, images: ImageBatches, views: Tensor, held_out: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        """Create batches from `views` [1 or 2, n, features]: original, then flipped images.

        `held_out` has the features [n, features] and class indices [n] of valid and test.
        """
        self.images = images
        self.views = views
        self.targets = torch.from_numpy(images.splits["train"].targets).to(views.device)
        self.held_out_features = held_out

    def batch_sizes(self) -> list[int]:
        """Return the size of each training batch of an epoch; the last may be smaller."""
        return self.images.batch_sizes()

    def train(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield batches of features, in the order and with the flips that images would have."""
        drawn = self.images.views(epoch)
        order = torch.from_numpy(drawn.order).to(self.views.device)
        flip = torch.from_numpy(drawn.flip).to(self.views.device).long()
        for part in training_parts(len(order), self.images.batch_size)[done:]:
            yield self.views[flip[part], order[part]], self.targets[order[part]]

    def held_out(self, split: str) -> Iterator[Batch]:
        """Yield the features of one split as a single batch."""
        yield self.held_out_features[split]
