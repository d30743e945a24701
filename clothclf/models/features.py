"""Features of a frozen backbone, computed once per view of an image and cached."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clothclf.data.atomic import new_folder, set_aside, write_text
from clothclf.data.batches import FeatureBatches, ImageBatches
from clothclf.data.in_use import hold
from clothclf.errors import DataError
from clothclf.models.classifier import Classifier
from clothclf.models.custom import SOURCE
from clothclf.models.fold import folded
from clothclf.models.load_weights import state_hash
from clothclf.settings import AugmentSettings

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the cache's content; increase it when features of the same input would change."""

Step = Callable[[int, int], None]
"""Callback with the number of processed images and the total."""


def view_count(augment: AugmentSettings) -> int | None:
    """Return the number of distinct views that augmentation makes of an image; None if infinite."""
    if augment.crop_padding or augment.random_resized_crop is not None:
        return None
    if augment.draws_by_image or augment.mixes:
        return None
    return 2 if augment.horizontal_flip else 1


def can_cache_features(classifier: Classifier, augment: AugmentSettings) -> bool:
    """Return whether features can replace images: deterministic, and with few views per image."""
    return classifier.backbone_is_deterministic() and view_count(augment) is not None


class BackboneFeatures:
    """Features of images by a deterministic backbone, with an optional cache on disk.

    The cache key covers parameters, architecture, images, precision and device, so that runs with
    other heads, learning rates and seeds of a study reuse the features.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: ImageBatches,
        folder: Path | None,
        backbone_sha256: str = "",
    ) -> None:
        """`folder` is the cache, shared by all runs; None disables it.

        `backbone_sha256` is the `state_hash` of the backbone, if known.
        """
        self._classifier = classifier
        self._images = images
        self._folder = folder
        self._known_backbone = backbone_sha256
        self.reused_s: float | None = 0.0
        """Seconds that features read from the cache originally took; None if unknown."""

    @functools.cached_property
    def _backbone(self) -> str:
        return self._known_backbone or state_hash(self._classifier.backbone)

    @functools.cached_property
    def _folded(self) -> Classifier:
        size = next(iter(self._images.splits.values())).pixels.shape[1]
        return folded(self._classifier.to(self._images.device), size)

    def batches(self, on_step: Step = lambda done, total: None) -> FeatureBatches:
        """Return batches of features instead of training and validation images."""
        views = view_count(self._images.augment)
        if views is None:
            raise ValueError("features can be cached only if each image has a few distinct views")
        splits = self._images.splits
        total = views * len(splits["train"]) + len(splits["valid"])
        train = self.of("train", views, lambda done: on_step(done, total))
        before = total - len(splits["valid"])
        valid = self.of("valid", 1, lambda done: on_step(before + done, total))[0]
        targets = torch.from_numpy(splits["valid"].targets).to(self._images.device)
        return FeatureBatches(self._images, train, {"valid": (valid, targets)})

    def of(
        self, split: str, views: int = 1, on_images: Callable[[int], None] = lambda done: None
    ) -> Tensor:
        """Return the features of a split in order, float32 [views, n, features].

        The views are the original and the horizontally flipped image.
        """
        device = self._images.device
        if self._folder is None:
            # Allocated outside inference mode, since training reads it with gradients enabled.
            features = torch.empty(self._shape(split, views), device=device)
            self._fill(features, split, on_images)
            return features
        path = self._folder / "features" / self._key(split, views)
        hold(path)
        try:
            array, seconds = _open(path, self._shape(split, views))
        except DataError:
            if path.exists():
                logger.warning("the cached features are damaged; computing them again")
            array = self._compute_and_write(path, split, views, on_images)
        else:
            known = self.reused_s is not None and seconds is not None
            self.reused_s = (self.reused_s or 0) + (seconds or 0) if known else None
            on_images(views * len(self._images.splits[split]))
        return torch.from_numpy(array).to(device)

    def _compute_and_write(
        self, path: Path, split: str, views: int, on_images: Callable[[int], None]
    ) -> npt.NDArray[np.float32]:
        shape = self._shape(split, views)
        try:
            set_aside(path)
            with new_folder(path) as unfinished:
                array = np.lib.format.open_memmap(
                    unfinished / "features.npy", mode="w+", dtype=np.float32, shape=shape
                )
                started = time.perf_counter()
                self._fill(torch.from_numpy(array), split, on_images)
                seconds = time.perf_counter() - started
                array.flush()
                metadata = {**_describe(array), "seconds": seconds}
                write_text(unfinished / "features.json", json.dumps(metadata))
            return _open(path, shape)[0]
        except OSError as error:
            raise DataError(
                f"{path}: features cannot be written: {error.strerror or error}"
            ) from None

    def _shape(self, split: str, views: int) -> tuple[int, int, int]:
        return (views, len(self._images.splits[split]), self._classifier.head.features)

    def _key(self, split: str, views: int) -> str:
        device = self._images.device
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        parts: tuple[object, ...] = (
            FORMAT,
            self._backbone,
            type(self._classifier.backbone).__name__,
            self._classifier.precision,
            self._images.normalization,
            self._images.splits[split].content,
            views,
            where,
            torch.__version__,
        )
        if source := getattr(self._classifier.backbone, SOURCE, ""):
            parts = (*parts, source)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def _fill(self, features: Tensor, split: str, on_images: Callable[[int], None]) -> None:
        """Compute the features of each view into `features` [views, n, features]."""
        done = 0
        for view, out in enumerate(features):
            start = 0
            for images, _ in self._images.in_order(split, flip=view == 1):
                out[start : start + len(images)] = self._folded.features(images)
                start += len(images)
                done += len(images)
                on_images(done)


def _open(folder: Path, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], float | None]:
    """Memory-map cached features; return them with their computation time, if known.

    Raises DataError if they are incomplete or damaged: training reads all of them, so all are
    compared with their checksum.
    """
    try:
        # Copy on write: torch requires writable memory, but the file must not change.
        array: npt.NDArray[np.float32] = np.load(folder / "features.npy", mmap_mode="c")
        metadata = json.loads((folder / "features.json").read_text("utf-8"))
        seconds = metadata.pop("seconds", None)
    except Exception as error:  # numpy raises many kinds on a damaged header
        raise DataError(f"{folder}: incomplete features: {error}") from None
    if array.shape != shape or array.dtype != np.float32 or metadata != _describe(array):
        raise DataError(f"{folder}: the features are damaged")
    return array, seconds if isinstance(seconds, float) else None


def _describe(array: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the shape and a checksum of all features."""
    content = np.ascontiguousarray(array).reshape(-1).data
    return {"format": FORMAT, "shape": list(array.shape), "crc32": zlib.crc32(content)}
