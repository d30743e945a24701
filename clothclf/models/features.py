"""Features of a frozen body, computed once for each view of a picture instead of every epoch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clothclf.data.batches import FeatureBatches, ImageBatches
from clothclf.models.classifier import Classifier
from clothclf.settings import AugmentSettings

Step = Callable[[int, int], None]
"""Called with pictures done and pictures in all."""


def view_count(augment: AugmentSettings) -> int | None:
    """Different pictures that augmentation makes of one; None where they are too many to list."""
    if augment.crop_padding:
        return None
    return 2 if augment.horizontal_flip else 1


def compute_features(
    classifier: Classifier, images: ImageBatches, on_step: Step = lambda done, total: None
) -> FeatureBatches:
    """Run the body over every view of the training pictures and over the validation pictures."""
    count = view_count(images.augment)
    if count is None:
        raise ValueError("features can be computed once only where a picture has a few views")
    pictures = len(images.splits["train"])
    total = count * pictures + len(images.splits["valid"])

    def from_place(start: int) -> Callable[[int], None]:
        return lambda done: on_step(start + done, total)

    # Filled in place: stacking them afterwards would take twice the memory.
    views = torch.empty(count, pictures, classifier.head.features, device=images.device)
    for view in range(count):
        tell = from_place(view * pictures)
        _fill(views[view], classifier, images, "train", view == 1, tell)
    valid = body_features(classifier, images, "valid", on_images=from_place(count * pictures))
    targets = torch.from_numpy(images.splits["valid"].targets).to(images.device)
    return FeatureBatches(images, views, {"valid": (valid, targets)})


def body_features(
    classifier: Classifier,
    images: ImageBatches,
    split: str,
    flip: bool = False,
    on_images: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Features of one split in order, all mirrored if `flip`: float32 [n, features]."""
    # Made outside inference mode: training reads it with gradients on.
    features = torch.empty(
        len(images.splits[split]), classifier.head.features, device=images.device
    )
    _fill(features, classifier, images, split, flip, on_images)
    return features


def _fill(
    features: Tensor,
    classifier: Classifier,
    images: ImageBatches,
    split: str,
    flip: bool,
    on_images: Callable[[int], None],
) -> None:
    """Write the features of one split into `features` [n, features]."""
    classifier.eval()
    done = 0
    for pictures, _ in images.in_order(split, flip):
        with torch.inference_mode():
            features[done : done + len(pictures)] = classifier.body(pictures)
        done += len(pictures)
        on_images(done)
