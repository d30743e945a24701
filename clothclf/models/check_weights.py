"""Check, before a study starts, that an architecture supports the size and its weights match."""

from __future__ import annotations

from clothclf.errors import ArchitectureError
from clothclf.models.architectures import create_for_size, on_meta
from clothclf.models.classifier import feature_count
from clothclf.models.load_weights import load_backbone
from clothclf.results import Weights


def check_architecture(name: str, image_size: int) -> None:
    """Raise ArchitectureError if the architecture does not accept images of this size."""
    try:
        # The meta device needs no memory and takes 0.1 s.
        with on_meta():
            feature_count(create_for_size(name, image_size, num_classes=0), image_size, name)
    except ArchitectureError:
        # A few architectures need real tensors during construction.
        feature_count(create_for_size(name, image_size, num_classes=0), image_size, name)


def check_weights(name: str, image_size: int, weights: Weights) -> None:
    """Raise WeightsError if a weights file cannot be loaded into the architecture."""
    if weights.path is not None:
        load_backbone(name, image_size, weights)
