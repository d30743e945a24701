"""Find out before a study starts whether an architecture takes the size, and its weights fit."""

from __future__ import annotations

import torch

from clothclf.errors import ArchitectureError
from clothclf.models.architectures import create_for_size
from clothclf.models.classifier import feature_count
from clothclf.models.weights import load_backbone
from clothclf.results import Weights


def check_architecture(name: str, image_size: int) -> None:
    """Raise ArchitectureError where the architecture cannot take images of this size."""
    try:
        # On the meta device there are shapes and no numbers: no memory, a tenth of a second.
        with torch.device("meta"):
            feature_count(create_for_size(name, image_size, num_classes=0), image_size, name)
    except ArchitectureError:
        # A few architectures compute with real numbers while they are built.
        feature_count(create_for_size(name, image_size, num_classes=0), image_size, name)


def check_weights(name: str, image_size: int, weights: Weights) -> None:
    """Raise WeightsError where a weights file cannot be loaded into the architecture."""
    if weights.path is not None:
        load_backbone(name, image_size, weights)
