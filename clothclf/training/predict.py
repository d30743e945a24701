"""Predict one split with a trained model."""

from __future__ import annotations

from pathlib import Path

import torch

from clothclf.data.batches import ImageBatches
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures
from clothclf.results import Predictions


@torch.inference_mode()
def predict(
    classifier: Classifier,
    images: ImageBatches,
    split: str,
    cache: Path | None = None,
    features: BackboneFeatures | None = None,
) -> Predictions:
    """Predict the class probabilities of every image of a split, without augmentation.

    The `features` of a deterministic backbone are cached in `cache` if not given.
    """
    classifier.to(images.device).eval()
    if classifier.backbone_is_deterministic():
        features = features or BackboneFeatures(classifier, images, cache)
        probabilities = classifier.head(features.of(split)[0]).softmax(1).cpu()
    else:
        parts = [classifier(inputs).softmax(1).cpu() for inputs, _ in images.in_order(split)]
        probabilities = torch.cat(parts)
    part = images.splits[split]
    return Predictions(part.ids, part.targets, probabilities.numpy())
