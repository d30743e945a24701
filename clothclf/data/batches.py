"""Images (or their cached features) as shuffled, augmented, normalised batches on a device.

What an epoch sees depends on the seed and the epoch's number alone, never on what ran before:
the order and the augmentation are the same whether images or cached features are fed, and a
run can go on from any epoch.
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
"""Inputs, and class numbers int64 [n] or, of mixed images, shares float32 [n, classes]."""


class Batches(Protocol):
    """What the training loop needs of the data."""

    def train(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Training batches of one epoch (from 1), shuffled and augmented, but for those `done`."""

    def batch_sizes(self) -> list[int]:
        """Images in each training batch of an epoch; the last may have fewer.

        They are those of all processes, where several train together.
        """

    def held_out(self, split: str) -> Iterator[Batch]:
        """Batches of `valid` or `test`, in order, unchanged."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, of images scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, pixels: Tensor) -> Tensor:
        """uint8 [n, size, size, 3] to float32 [n, 3, size, size] in channels-last memory."""
        mean, scale = self._on(pixels.device)
        # The permuted view of [n, h, w, c] is channels-last already: no copy.
        return ((pixels.float() - mean) * scale).permute(0, 3, 1, 2)

    def undo(self, images: Tensor) -> Tensor:
        """`apply` undone, but for rounding: float32 [n, size, size, 3] of levels 0..255."""
        mean, scale = self._on(images.device)
        return images.permute(0, 2, 3, 1) / scale + mean

    @functools.cache  # noqa: B019 - of a frozen value, and there are few
    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation in levels of 0..255, brought to a device but once."""
        mean = torch.tensor(self.mean, device=device) * 255
        return mean, 1 / (torch.tensor(self.std, device=device) * 255)


def training_parts(count: int, batch_size: int) -> list[slice]:
    """Cut an epoch of `count` images into batches; the last may be smaller.

    A last image all alone joins the batch before it: batch norm has no statistics of one.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and batch_size > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]


class ImageBatches:
    """Images straight from the pixel array, changed in batches on the training device."""

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
        """`splits` holds train, valid and test; `batch_size` is that of training.

        With `resident`, each split's pixels are brought to the device once and stay there.
        `sampling` is `train.sampling`. Of each training batch the `shard` is made, and of the
        held-out ones every so many.
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
        """Training batches in an epoch."""
        return len(self.batch_sizes())

    def batch_sizes(self) -> list[int]:
        """Images in each of them, of all processes together."""
        parts = training_parts(len(self.splits["train"]), self.batch_size)
        return [part.stop - part.start for part in parts]

    def views(self, epoch: int) -> Views:
        """How the training images are changed in an epoch (from 1)."""
        train = self.splits["train"]
        classes = train.targets if self.sampling == "balanced" else None
        return draw_views(len(train), epoch, self.seed, self.augment, classes)

    def train(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Training batches of one epoch (from 1), shuffled and augmented, but for those `done`."""
        views, changes = self.views(epoch), self._changes()
        place = self._place(views, changes)
        read = self._reader("train", views.order, place)
        # Brought to the device for the whole epoch: no step waits for a copy.
        flip = torch.from_numpy(views.flip).to(place)
        shift = torch.from_numpy(views.shift).to(place)
        box = None if views.box is None else torch.from_numpy(views.box).float().to(place)
        targets = torch.from_numpy(self.splits["train"].targets[views.order]).to(self.device)
        for whole in training_parts(len(flip), self.batch_size)[done:]:
            own = self.shard.of(whole)
            # Images are mixed with any of their batch: it is made as a whole, and cut then.
            part = whole if self.augment.mixes else own
            pixels = padded_crop(read(part), shift[part], self.augment.crop_padding)
            if box is not None:
                pixels = resized_crop(pixels, box[part])
            pixels = torch.where(flip[part, None, None, None], pixels.flip(2), pixels)
            if changes is None:
                yield self.normalization.apply(pixels.to(self.device)), targets[part]
                continue
            seeds = None if views.seeds is None else views.seeds[part]
            pixels = changes.to_pixels(pixels, seeds).to(self.device)
            made = changes.to_inputs(self.normalization.apply(pixels), targets[part], seeds)
            cut = slice(own.start - part.start, own.stop - part.start)
            yield made[0][cut], made[1][cut]

    def _place(self, views: Views, changes: Changes | None) -> torch.device:
        """Where pixels are changed: on a CPU where Pillow does it, or Apple's GPUs cannot."""
        by_pillow = changes is not None and changes.on_cpu
        not_there = self.device.type == "mps" and views.box is not None
        return torch.device("cpu") if by_pillow or not_there else self.device

    def _changes(self) -> Changes | None:
        """What timm changes, where the recipe asks for any of it."""
        if not (self.augment.draws_by_image or self.augment.mixes):
            return None
        from clothclf.data.augment import Changes  # timm is slow to import, and seldom needed

        classes = 1 + max(int(images.targets.max()) for images in self.splits.values())
        return Changes(self.augment, self.normalization.mean, classes, self.device)

    def held_out(self, split: str) -> Iterator[Batch]:
        """Batches of one split, in order, unchanged."""
        yield from self.in_order(split, shard=self.shard)

    def in_order(self, split: str, flip: bool = False, shard: Shard = ALL) -> Iterator[Batch]:
        """Batches of one split in order, every image mirrored if `flip`.

        Several processes take them by turns, each as large as one process would have it.
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
        self, split: str, order: npt.NDArray[np.int64], place: torch.device
    ) -> Callable[[slice], Tensor]:
        """What gives uint8 images [n, size, size, 3], at a place, for a part of an order."""
        images = self.splits[split]
        if not self.resident or place != self.device:
            return lambda part: torch.from_numpy(images.images(order[part])).to(place)
        if split not in self._on_device:
            self._on_device[split] = _bring(images, self.device)
        pixels, places = self._on_device[split], torch.from_numpy(order).to(self.device)
        return lambda part: pixels[places[part]]


def _bring(images: SplitImages, device: torch.device) -> Tensor:
    """Every image of a split on a device, uint8 [n, size, size, 3], brought in pieces."""
    shape = (len(images), *images.pixels.shape[1:])
    everything = torch.empty(shape, dtype=torch.uint8, device=device)
    for places in np.array_split(np.arange(len(images)), max(1, len(images) // 1024)):
        everything[places[0] : places[-1] + 1] = torch.from_numpy(images.images(places))
    return everything


class FeatureBatches:
    """Cached features of a frozen backbone instead of images, in the same order."""

    def __init__(
        self, images: ImageBatches, views: Tensor, held_out: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        """`views` is [1 or 2, n, features]: of the images as they are, and mirrored.

        `held_out` holds features [n, features] and class numbers [n] of valid and test.
        """
        self.images = images
        self.views = views
        self.targets = torch.from_numpy(images.splits["train"].targets).to(views.device)
        self.held_out_features = held_out

    def batch_sizes(self) -> list[int]:
        """Images in each training batch of an epoch; the last may have fewer."""
        return self.images.batch_sizes()

    def train(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Batches of features, in the order and with the mirrors that images would have."""
        drawn = self.images.views(epoch)
        order = torch.from_numpy(drawn.order).to(self.views.device)
        flip = torch.from_numpy(drawn.flip).to(self.views.device).long()
        for part in training_parts(len(order), self.images.batch_size)[done:]:
            yield self.views[flip[part], order[part]], self.targets[order[part]]

    def held_out(self, split: str) -> Iterator[Batch]:
        """The features of one split, in one batch."""
        yield self.held_out_features[split]
