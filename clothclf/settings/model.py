"""Settings of the model: architecture, head, initial weights, and which parameters train."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from clothclf.settings.base import ImageSize, Settings

Mode = Literal["frozen", "finetune", "scratch"]
BatchNorm = Literal["fixed", "drifting"]
Precision = Literal["float32", "bfloat16"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class HeadSettings(Settings):
    """Classifier head: dropout, an optional hidden layer with ReLU, and a linear layer."""

    hidden: Annotated[int, Field(ge=1)] | None = None
    """Width of the hidden layer; none for no hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the head's input features."""


LIST_MARK = "@"
"""Prefix of the path of a file that lists architecture names."""


class ArchitectureSettings(Settings):
    """One architecture, a wildcard or a list of names, with options that override the study's.

    `file: names.txt` can be given instead of `name`.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """timm model name, optionally with a tag (`efficientnet_b0.ra_in1k`) or wildcards;
    `module:function` for a custom architecture; `@names.txt` for a file with one name per line."""
    head: HeadSettings | None = None
    """Overrides `model.head`."""
    image_size: ImageSize | None = None
    """Overrides `data.image_size`: pixels, or `native` for timm's default size."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """Overrides `model.weights`."""

    @model_validator(mode="before")
    @classmethod
    def _file_for_name(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "file" not in values:
            return values
        file = values["file"]
        if "name" in values or not isinstance(file, str):
            raise ValueError("give either name (an architecture) or file (the path of a list)")
        rest = {key: value for key, value in values.items() if key != "file"}
        return {**rest, "name": LIST_MARK + file}


class ModelSettings(Settings):
    """Initial weights, which parameters train, and the precision."""

    weights: Annotated[str, Field(min_length=1)] = "auto"
    """auto | pretrained | none | a weights file | a folder of `<architecture>.safetensors`."""
    mode: Mode = "frozen"
    """`frozen` trains the head, `finetune` everything, `scratch` everything from random weights."""
    batch_norm: BatchNorm = "fixed"
    """Batch-norm statistics of a frozen backbone: `fixed`, or `drifting` (updated in training)."""
    standardize_features: bool = False
    """Standardize the head's input features to mean 0 and standard deviation 1 on training data."""
    head: HeadSettings = HeadSettings()
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Precision of the backbone's arithmetic; `auto` picks the faster one on this device by a
    short probe."""

    @model_validator(mode="after")
    def _options_fit_the_mode(self) -> ModelSettings:
        if self.mode == "scratch" and self.weights not in ("auto", "none"):
            raise ValueError("mode: scratch starts from random weights: set model.weights to none")
        if self.mode != "frozen" and self.batch_norm == "drifting":
            raise ValueError(
                "batch_norm: drifting requires mode: frozen; other modes train the norms"
            )
        if self.standardize_features and (self.mode, self.batch_norm) != ("frozen", "fixed"):
            raise ValueError(
                "standardize_features requires mode: frozen and batch_norm: fixed; set it to false"
            )
        return self
