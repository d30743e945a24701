"""clothclf: prepare labelled images, train timm classifiers and measure what they cost.

The names in `__all__` are the public interface; docs/python-api.md shows how to use them. All other
names are private and may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clothclf.cost.count import CostRequest, count_cost
    from clothclf.data.dataset import DataSet
    from clothclf.data.prepare import prepare
    from clothclf.models.build import build_classifier
    from clothclf.models.classifier import Classifier
    from clothclf.results import Cost
    from clothclf.settings import DataSettings, HeadSettings, ModelSettings

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Cost",
    "CostRequest",
    "DataSet",
    "DataSettings",
    "HeadSettings",
    "ModelSettings",
    "build_classifier",
    "count_cost",
    "prepare",
]

_MODULES = {
    "Classifier": "clothclf.models.classifier",
    "Cost": "clothclf.results",
    "CostRequest": "clothclf.cost.count",
    "DataSet": "clothclf.data.dataset",
    "DataSettings": "clothclf.settings",
    "HeadSettings": "clothclf.settings",
    "ModelSettings": "clothclf.settings",
    "build_classifier": "clothclf.models.build",
    "count_cost": "clothclf.cost.count",
    "prepare": "clothclf.data.prepare",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use: some import torch, which takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module 'clothclf' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
