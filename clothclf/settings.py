"""What a user may set for data, model and training, with ranges and units; it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Mode = Literal["frozen", "finetune", "scratch"]
BatchNorm = Literal["fixed", "drifting"]
Precision = Literal["float32", "bfloat16"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


class HeadSettings(Settings):
    """The classifier on the body: dropout, an optional hidden layer with ReLU, then classes."""

    hidden: Annotated[int, Field(ge=1)] | None = None
    """Width of the hidden layer; none without."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ArchitectureSettings(Settings):
    """One timm architecture (or a wildcard over names), with its own head where it needs one."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    head: HeadSettings | None = None
    """Instead of `model.head`."""


class ModelSettings(Settings):
    """Where the parameters come from, and which of them train."""

    weights: Annotated[str, Field(min_length=1)] = "auto"
    """auto | pretrained | none | a weights file | a folder of <architecture>.safetensors."""
    mode: Mode = "frozen"
    batch_norm: BatchNorm = "fixed"
    """Statistics of a frozen body: `fixed`, or `drifting` with the training batches."""
    standardize_features: bool = False
    """Give the head features of mean 0 and deviation 1 (over the training pictures)."""
    head: HeadSettings = HeadSettings()
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the body's arithmetic; `auto` takes what a short probe finds faster on this device."""

    @model_validator(mode="after")
    def _options_fit_the_mode(self) -> ModelSettings:
        if self.mode == "scratch" and self.weights not in ("auto", "none"):
            raise ValueError("mode: scratch starts from random weights: leave out model.weights")
        if self.mode != "frozen" and self.batch_norm == "drifting":
            raise ValueError(
                "batch_norm: drifting is for mode: frozen; other modes train the norms"
            )
        if self.standardize_features and (self.mode, self.batch_norm) != ("frozen", "fixed"):
            raise ValueError("standardize_features needs mode: frozen with batch_norm: fixed")
        return self


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
