"""Features of a frozen body, computed once for each view of a picture instead of every epoch."""

from __future__ import annotations

import hashlib
import json
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
from clothclf.models.fold import folded
from clothclf.models.own import SOURCE
from clothclf.models.weights import state_hash
from clothclf.settings import AugmentSettings

FORMAT = 2
"""Raise it when the same body and pictures would give other features."""

Step = Callable[[int, int], None]
"""Called with pictures done and pictures in all."""


def view_count(augment: AugmentSettings) -> int | None:
    """Different pictures that augmentation makes of one; None where they are too many to list."""
    if augment.crop_padding or augment.random_resized_crop is not None:
        return None
    if augment.draws_by_picture or augment.mixes:
        return None
    return 2 if augment.horizontal_flip else 1


def body_runs_once(classifier: Classifier, augment: AugmentSettings) -> bool:
    """Whether features can stand for the pictures: each has a few, the same every time."""
    return classifier.body_is_deterministic() and view_count(augment) is not None


class BodyFeatures:
    """What a deterministic body makes of the pictures, kept on disk where there is a folder.

    The kept features are those of the same parameters, architecture, pictures, arithmetic and
    device: other heads, learning rates and seeds of a study find them there.
    """

    def __init__(self, classifier: Classifier, images: ImageBatches, folder: Path | None) -> None:
        """`folder` is shared by all runs; None computes without keeping."""
        self._classifier = classifier
        self._images = images
        self._folder = folder
        self._body: str = "" if folder is None else state_hash(classifier.body)
        self.reused_s: float | None = 0.0
        """Seconds that what was read from the cache took when it was computed; None: unknown."""

    def batches(self, on_step: Step = lambda done, total: None) -> FeatureBatches:
        """Features in place of the training and validation pictures."""
        views = view_count(self._images.augment)
        if views is None:
            raise ValueError("features can be computed once only where a picture has a few views")
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
        """Features of a split in order, float32 [views, n, features]: as it is, then mirrored."""
        device = self._images.device
        if self._folder is None:
            # Made outside inference mode: training reads it with gradients on.
            features = torch.empty(self._shape(split, views), device=device)
            self._fill(features, split, on_images)
            return features
        kept = self._folder / "features" / self._key(split, views)
        hold(kept)
        try:
            array, seconds = _open(kept, self._shape(split, views))
        except DataError:
            array = self._compute_and_keep(kept, split, views, on_images)
        else:
            known = self.reused_s is not None and seconds is not None
            self.reused_s = (self.reused_s or 0) + (seconds or 0) if known else None
            on_images(views * len(self._images.splits[split]))
        return torch.from_numpy(array).to(device)

    def _compute_and_keep(
        self, kept: Path, split: str, views: int, on_images: Callable[[int], None]
    ) -> npt.NDArray[np.float32]:
        shape = self._shape(split, views)
        try:
            set_aside(kept)
            with new_folder(kept) as unfinished:
                array = np.lib.format.open_memmap(
                    unfinished / "features.npy", mode="w+", dtype=np.float32, shape=shape
                )
                started = time.perf_counter()
                self._fill(torch.from_numpy(array), split, on_images)
                seconds = time.perf_counter() - started
                array.flush()
                told = {**_describe(array), "seconds": seconds}
                write_text(unfinished / "features.json", json.dumps(told))
            return _open(kept, shape)[0]
        except OSError as error:
            raise DataError(
                f"{kept}: the features cannot be kept there: {error.strerror or error}"
            ) from None

    def _shape(self, split: str, views: int) -> tuple[int, int, int]:
        return (views, len(self._images.splits[split]), self._classifier.head.features)

    def _key(self, split: str, views: int) -> str:
        device = self._images.device
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        parts: tuple[object, ...] = (
            FORMAT,
            self._body,
            type(self._classifier.body).__name__,
            self._classifier.precision,
            self._images.normalization,
            self._images.splits[split].content,
            views,
            where,
            torch.__version__,
        )
        if source := getattr(self._classifier.body, SOURCE, ""):
            parts = (*parts, source)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def _fill(self, features: Tensor, split: str, on_images: Callable[[int], None]) -> None:
        """Write what the body makes of each view into `features` [views, n, features]."""
        size = self._images.splits[split].pixels.shape[1]
        classifier = folded(self._classifier.to(self._images.device), size)
        done = 0
        for view, out in enumerate(features):
            place = 0
            for pictures, _ in self._images.in_order(split, flip=view == 1):
                out[place : place + len(pictures)] = classifier.features(pictures)
                place += len(pictures)
                done += len(pictures)
                on_images(done)


def _open(folder: Path, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], float | None]:
    """Open cached features, and the seconds that they took, where known.

    Raises DataError where they are not as they were written: training reads them whole, so all of
    them are compared with their checksum.
    """
    try:
        # Copy on write: torch wants writable memory, and nothing may reach the file.
        array: npt.NDArray[np.float32] = np.load(folder / "features.npy", mmap_mode="c")
        told = json.loads((folder / "features.json").read_text("utf-8"))
        seconds = told.pop("seconds", None)
    except Exception as error:  # numpy raises many kinds on a damaged header
        raise DataError(f"{folder}: no whole features: {error}") from None
    if array.shape != shape or array.dtype != np.float32 or told != _describe(array):
        raise DataError(f"{folder}: the features are damaged")
    return array, seconds if isinstance(seconds, float) else None


def _describe(array: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Shape, and a checksum of all features."""
    content = np.ascontiguousarray(array).reshape(-1).data
    return {"format": FORMAT, "shape": list(array.shape), "crc32": zlib.crc32(content)}
