"""Which pictures a study takes, which classes of them, and how they are split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from clothclf.settings.base import Fraction, Settings


class SplitSettings(Settings):
    """Shares of the pictures for training, validation and test; stratified by class and seeded."""

    train: Fraction = 0.64
    valid: Fraction = 0.16
    test: Fraction = 0.20
    seed: Annotated[int, Field(ge=0)] = 0
    keep_twins_together: bool = True
    """Pictures with the same pixels stay on one side; `false` splits as the published study did."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> SplitSettings:
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, valid and test must add up to 1, not {total:g}")
        return self


class DemoSettings(Settings):
    """The drawn pictures of `data.source: demo`."""

    images_per_class: Annotated[int, Field(ge=5, le=10_000)] = 100
    seed: Annotated[int, Field(ge=0)] = 0


class DataSettings(Settings):
    """Which pictures, which classes of them, and how they are split."""

    source: Literal["demo", "kaggle"] = "demo"
    path: Path | None = None
    """Archive or folder of the source; relative to the current folder."""
    label: Annotated[str, Field(min_length=1, max_length=200)] = "articleType"
    """Column that holds the class."""
    min_images_per_class: Annotated[int, Field(ge=1)] = 1
    """Classes with fewer usable pictures are left out (at least this many stay)."""
    max_classes: Annotated[int, Field(ge=2)] | None = None
    """Keep only the largest so many classes."""
    max_images: Annotated[int, Field(ge=1)] | None = None
    """Keep at most so many pictures, each class in proportion; for a quick try."""
    image_size: Annotated[int, Field(ge=8, le=1024)] = 112
    """Side of the square that every picture is resized to, in pixels."""
    demo: DemoSettings = DemoSettings()
    split: SplitSettings = SplitSettings()

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> DataSettings:
        if self.source == "kaggle" and self.path is None:
            raise ValueError("source kaggle needs data.path: the downloaded zip or its folder")
        if self.source == "demo" and self.path is not None:
            raise ValueError("source demo takes no data.path: say data.source: kaggle to use it")
        return self
