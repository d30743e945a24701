"""The recipe: what training does to pictures, and how it moves the parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clothclf.settings.base import Settings


class AugmentSettings(Settings):
    """Random changes to training pictures: crop after reflection padding, then a mirror."""

    crop_padding: Annotated[int, Field(ge=0, le=128)] = 0
    """Pixels added on each side before a random crop back to `image_size`."""
    horizontal_flip: bool = True


class TrainSettings(Settings):
    """The recipe: optimiser, schedule, length."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    optimizer: Literal["sgd"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` falls to zero over all steps of all epochs."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many epochs without a lower validation loss; none runs all epochs."""
    augment: AugmentSettings = AugmentSettings()
