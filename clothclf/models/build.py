"""Build the classifier of a run: a backbone with its weights, and a head."""

from __future__ import annotations

import torch

from clothclf.errors import WeightsError
from clothclf.models.classifier import Classifier, Head, feature_count
from clothclf.models.load_weights import load_backbone
from clothclf.results import Weights
from clothclf.settings import HeadSettings, ModelSettings, Precision


def build_classifier(
    architecture: str,
    head: HeadSettings,
    model: ModelSettings,
    classes: int,
    image_size: int,
    weights: Weights,
    seed: int,
    precision: Precision = "float32",
) -> Classifier:
    """Build a classifier on the CPU, in channels-last memory format; deterministic by seed.

    Raises ArchitectureError (unknown name, unsupported size) or WeightsError (checkpoint mismatch).
    """
    if model.mode == "scratch" and weights.path is not None:
        raise WeightsError(
            f"model.weights: mode: scratch starts from random weights, not from {weights.name}"
        )
    torch.manual_seed(seed)
    backbone = load_backbone(architecture, image_size, weights)
    features = feature_count(backbone, image_size, architecture)
    # Seed again, so that the head does not depend on how many numbers the backbone drew.
    torch.manual_seed(seed)
    top = Head(features, classes, head, model.standardize_features)
    classifier = Classifier(backbone, top, model, precision)
    return classifier.to(memory_format=torch.channels_last)
