"""What is trained: architectures and heads, where parameters come from, which of them move."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from clothclf.settings.base import ImageSize, Settings

Mode = Literal["frozen", "finetune", "scratch"]
BatchNorm = Literal["fixed", "drifting"]
Precision = Literal["float32", "bfloat16"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class HeadSettings(Settings):
    """The classifier on the backbone: dropout, an optional hidden layer with ReLU, then classes."""

    hidden: Annotated[int, Field(ge=1)] | None = None
    """Width of the hidden layer; none without."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


LIST_MARK = "@"
"""Before the path of a file that lists names."""


class ArchitectureSettings(Settings):
    """One architecture, or all that a wildcard or a list names, and what is its own.

    `file: names.txt` may stand in place of `name`.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """timm's name, with a tag (`efficientnet_b0.ra_in1k`) or wildcards; `module:function` for an
    architecture of your own; `@names.txt` for all of a file's lines."""
    head: HeadSettings | None = None
    """Instead of `model.head`."""
    image_size: ImageSize | None = None
    """Instead of `data.image_size`: pixels, or `native` for the size that timm made it for."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """Instead of `model.weights`."""

    @model_validator(mode="before")
    @classmethod
    def _file_for_name(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "file" not in values:
            return values
        file = values["file"]
        if "name" in values or not isinstance(file, str):
            raise ValueError("give name: a name, or file: the path of a list, not both")
        rest = {key: value for key, value in values.items() if key != "file"}
        return {**rest, "name": LIST_MARK + file}


class ModelSettings(Settings):
    """Where the parameters come from, and which of them train."""

    weights: Annotated[str, Field(min_length=1)] = "auto"
    """auto | pretrained | none | a weights file | a folder of <architecture>.safetensors."""
    mode: Mode = "frozen"
    batch_norm: BatchNorm = "fixed"
    """Statistics of a frozen backbone: `fixed`, or `drifting` with the training batches."""
    standardize_features: bool = False
    """Give the head features of mean 0 and deviation 1 (over the training images)."""
    head: HeadSettings = HeadSettings()
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the backbone's arithmetic; `auto` takes what a short probe finds faster on this device."""

    @model_validator(mode="after")
    def _options_fit_the_mode(self) -> ModelSettings:
        if self.mode == "scratch" and self.weights not in ("auto", "none"):
            raise ValueError("mode: scratch starts from random weights: set model.weights to none")
        if self.mode != "frozen" and self.batch_norm == "drifting":
            raise ValueError(
                "batch_norm: drifting is for mode: frozen; other modes train the norms"
            )
        if self.standardize_features and (self.mode, self.batch_norm) != ("frozen", "fixed"):
            raise ValueError(
                "standardize_features needs mode: frozen with batch_norm: fixed; set it to false"
            )
        return self
