"""Settings for data, model and training, with ranges and units. Does not import torch."""

from __future__ import annotations

from clothclf.settings.base import LATER, Fraction, Settings, identity, with_current_keys
from clothclf.settings.data import (
    AtMostSettings,
    DataSettings,
    DemoSettings,
    HubSettings,
    SplitSettings,
)
from clothclf.settings.model import (
    ArchitectureSettings,
    BatchNorm,
    Device,
    HeadSettings,
    Mode,
    ModelSettings,
    Precision,
)
from clothclf.settings.training import AugmentSettings, EmaSettings, TeacherSettings, TrainSettings
from clothclf.settings.tuning import RangeSettings, TuningSettings

__all__ = [
    "LATER",
    "ArchitectureSettings",
    "AtMostSettings",
    "AugmentSettings",
    "BatchNorm",
    "DataSettings",
    "DemoSettings",
    "Device",
    "EmaSettings",
    "Fraction",
    "HeadSettings",
    "HubSettings",
    "Mode",
    "ModelSettings",
    "Precision",
    "RangeSettings",
    "Settings",
    "SplitSettings",
    "TeacherSettings",
    "TrainSettings",
    "TuningSettings",
    "identity",
    "with_current_keys",
]
