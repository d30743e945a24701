"""The recipe: what training does to images, and how it moves the parameters."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from clothclf.settings.base import LATER, Settings

Shard = Annotated[float, Field(ge=0, le=1)]
Alpha = Annotated[float, Field(ge=0, le=100)]
"""Both parameters of a beta distribution; 0 turns off what is mixed by it."""
OptionValue = bool | int | float | Annotated[str, Field(max_length=200)] | tuple[float, ...] | None

# timm's own parser passes over what it does not know, or fails an assertion.
_RAND_AUGMENT = {
    "m": r"\d{1,2}",
    "n": r"[1-9]|10",
    "p": r"0(\.\d+)?|1(\.0+)?",
    "mstd": r"\d{1,3}(\.\d+)?",
    "mmax": r"[1-9]\d?",
    "inc": r"[01]",
    "t": r"weights|3a|3aw",
}


class AugmentSettings(Settings):
    """Random changes to training images, in the order of these keys; validation has none."""

    crop_padding: Annotated[int, Field(ge=0, le=128)] = 0
    """Pixels added on each side by reflection before a random crop back to `image_size`."""
    random_resized_crop: Annotated[float | None, Field(gt=0, le=1), LATER] = None
    """Least share of the area that a random rectangle keeps, 3:4 to 4:3, scaled to full size."""
    horizontal_flip: bool = True
    rand_augment: Annotated[str | None, LATER] = None
    """RandAugment as timm writes it: `rand-m9-mstd0.5`."""
    random_erasing: Annotated[Shard, LATER] = 0.0
    """Probability that a rectangle of an image becomes the mean colour."""
    mixup: Annotated[Alpha, LATER] = 0.0
    """Blend each image, and its label, with another of its batch; shares from Beta(a, a)."""
    cutmix: Annotated[Alpha, LATER] = 0.0
    """Paste a rectangle of another image of the batch; the label by area. With `mixup`, each
    batch gets one of both."""
    mix_probability: Annotated[Shard, LATER] = 1.0
    """Share of batches that are mixed at all."""

    @field_validator("rand_augment")
    @classmethod
    def _as_timm_writes_it(cls, text: str | None) -> str | None:
        if text is None:
            return None
        first, *sections = text.split("-")
        seen: set[str] = set()
        for section in sections:
            name = _section_name(section)
            if name is None or name in seen:
                told = f"section {section[:40]!r} is {'there twice' if name else 'not known'}"
                raise ValueError(f"{told}; write it like rand-m9-n2-mstd0.5")
            seen.add(name)
        if first != "rand":
            raise ValueError("must begin with rand; write it like rand-m9-n2-mstd0.5")
        return text

    @model_validator(mode="after")
    def _one_crop(self) -> AugmentSettings:
        if self.crop_padding and self.random_resized_crop is not None:
            raise ValueError("crop_padding and random_resized_crop both crop: leave one out")
        return self

    @property
    def mixes(self) -> bool:
        """Whether labels become shares of two classes."""
        return bool(self.mix_probability and (self.mixup or self.cutmix))

    @property
    def draws_by_image(self) -> bool:
        """Whether an image is changed by what draws many numbers of its own."""
        return self.rand_augment is not None or self.random_erasing > 0


class EmaSettings(Settings):
    """A moving average of the parameters: validated, and saved, in their place."""

    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the average that stays at a step; none keeps no average."""
    warmup: bool = True
    """Less at first: step s keeps at most s / (s + 10), so that the start is soon forgotten."""


class TeacherSettings(Settings):
    """Finished runs whose answers are learnt beside the labels (distillation, arXiv:1503.02531)."""

    runs: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Each a run's folder, or a run of the study; several teach the mean of their answers."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Of a training image's target that is their answer; the rest is its label."""


class TrainSettings(Settings):
    """The recipe: optimiser, schedule, length, and what is done to images and labels."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    optimizer: Annotated[str, Field(min_length=1, max_length=40)] = "sgd"
    """`sgd` (with classical momentum), or any of timm's: adamw, lamb, lion …"""
    optimizer_options: Annotated[dict[str, OptionValue], LATER] = Field(default_factory=dict)
    """Further arguments of the optimiser, such as betas, eps or nesterov."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """The highest of the schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of an optimiser that has one; Adam and its kin have betas."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_norms_and_biases: Annotated[bool, LATER] = True
    """`false` leaves weight decay out for all parameters of one dimension, and for those that the
    architecture names (positions, class tokens)."""
    layer_decay: Annotated[float | None, Field(gt=0, le=1), LATER] = None
    """Rate of each layer as a share of the rate of the one above it; the head has the full one."""
    schedule: Literal["constant", "cosine", "onecycle", "linear", "step"] = "constant"
    """`cosine` and `linear` fall over all steps of all epochs, `onecycle` rises from a 25th of the
    rate and falls by half cosines, `step` falls by `step_factor` every `step_epochs`."""
    warmup_epochs: Annotated[float | None, Field(ge=0), LATER] = None
    """Epochs over which the rate rises at first; none is 30 % of a `onecycle`, else 0."""
    final_learning_rate: Annotated[float, Field(ge=0), LATER] = 0.0
    """Where `cosine`, `linear` and `onecycle` end."""
    step_epochs: Annotated[int | None, Field(ge=1), LATER] = None
    """For `schedule: step`: epochs from one fall to the next."""
    step_factor: Annotated[float, Field(gt=0, lt=1), LATER] = 0.1
    """For `schedule: step`: what the rate is multiplied by."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many epochs without a lower validation loss; none runs all epochs."""
    head_epochs: Annotated[int, Field(ge=0), LATER] = 0
    """Epochs at first in which the head alone trains, and the backbone stays as it is."""
    clip_grad_norm: Annotated[float | None, Field(gt=0), LATER] = None
    """Longest that the gradient of all parameters together may be; longer ones are scaled."""
    ema: Annotated[EmaSettings, LATER] = EmaSettings()
    label_smoothing: Annotated[float, Field(ge=0, lt=1), LATER] = 0.0
    """Share of each label that is spread over all classes evenly."""
    teacher: Annotated[TeacherSettings, LATER] = TeacherSettings()
    class_weights: Annotated[Literal["none", "balanced"], LATER] = "none"
    """`balanced` weighs an image's loss by images / (classes x images of its class)."""
    sampling: Annotated[Literal["natural", "balanced"], LATER] = "natural"
    """`balanced` draws as many images of each class an epoch, as many in all as there are."""
    augment: AugmentSettings = AugmentSettings()

    @model_validator(mode="after")
    def _schedule_fits(self) -> TrainSettings:
        warmup = self.warmup_epochs or 0
        if warmup >= self.epochs:
            raise ValueError(f"warmup_epochs: must be below epochs ({self.epochs})")
        if self.head_epochs >= self.epochs:
            raise ValueError(f"head_epochs: must be below epochs ({self.epochs})")
        if (self.schedule == "step") != (self.step_epochs is not None):
            raise ValueError("schedule: step and step_epochs need each other: give both, or none")
        if self.final_learning_rate and self.schedule in ("constant", "step"):
            raise ValueError(f"final_learning_rate: schedule: {self.schedule} takes none")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate: must not be above learning_rate")
        return self

    @model_validator(mode="after")
    def _images_and_classes_fit(self) -> TrainSettings:
        if self.augment.mixes and self.batch_size == 1:
            raise ValueError("augment: mixup and cutmix need a batch_size of 2 or more")
        if self.class_weights == "balanced" and self.sampling == "balanced":
            raise ValueError("class_weights and sampling would both balance: leave one out")
        return self


def _section_name(section: str) -> str | None:
    """Which part of RandAugment's text this is, where its value is one that timm takes."""
    # The longest first: `mstd0.5` begins with an m.
    for name in sorted(_RAND_AUGMENT, key=len, reverse=True):
        if re.fullmatch(f"{name}({_RAND_AUGMENT[name]})", section):
            return name
    return None
