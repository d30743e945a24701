"""Settings of the training recipe: augmentation, optimizer, schedule and regularization."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from clothclf.settings.base import LATER, Settings

Shard = Annotated[float, Field(ge=0, le=1)]
Alpha = Annotated[float, Field(ge=0, le=100)]
"""Both parameters of a beta distribution; 0 disables the augmentation."""
OptionValue = bool | int | float | Annotated[str, Field(max_length=200)] | tuple[float, ...] | None

# timm's own parser ignores unknown sections or fails an assertion.
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
    """Augmentation of training images, applied in the order of these keys."""

    crop_padding: Annotated[int, Field(ge=0, le=128)] = 0
    """Reflection padding in pixels on each side, followed by a random crop to `image_size`."""
    random_resized_crop: Annotated[float | None, Field(gt=0, le=1), LATER] = None
    """Minimum area of the random crop as a fraction of the image; aspect ratio 3:4 to 4:3,
    resized to full size."""
    horizontal_flip: bool = True
    """Flip each image horizontally with probability one half."""
    rand_augment: Annotated[str | None, LATER] = None
    """RandAugment in timm's notation: `rand-m9-mstd0.5`."""
    random_erasing: Annotated[Shard, LATER] = 0.0
    """Probability of replacing a random rectangle of an image by the mean color."""
    mixup: Annotated[Alpha, LATER] = 0.0
    """Mixup: blend each image and label with another of the batch; ratio from Beta(a, a)."""
    cutmix: Annotated[Alpha, LATER] = 0.0
    """CutMix: paste a rectangle of another image of the batch and mix the labels by area. With
    `mixup`, each batch gets one of the two."""
    mix_probability: Annotated[Shard, LATER] = 1.0
    """Probability of applying mixup or CutMix to a batch."""

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
                problem = f"section {section[:40]!r} is {'repeated' if name else 'not known'}"
                raise ValueError(f"{problem}; write it like rand-m9-n2-mstd0.5")
            seen.add(name)
        if first != "rand":
            raise ValueError("must start with rand; write it like rand-m9-n2-mstd0.5")
        return text

    @model_validator(mode="after")
    def _one_crop(self) -> AugmentSettings:
        if self.crop_padding and self.random_resized_crop is not None:
            raise ValueError("crop_padding and random_resized_crop both crop: remove one of them")
        return self

    @property
    def mixes(self) -> bool:
        """Whether labels become soft labels over two classes."""
        return bool(self.mix_probability and (self.mixup or self.cutmix))

    @property
    def draws_by_image(self) -> bool:
        """Whether an augmentation draws many random numbers per image."""
        return self.rand_augment is not None or self.random_erasing > 0


class EmaSettings(Settings):
    """Exponential moving average (EMA) of the parameters, validated and saved in their place."""

    decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step; none disables the EMA."""
    warmup: bool = True
    """Limit the decay at step s to s / (s + 10), so that the initial weights fade out quickly."""


class TeacherSettings(Settings):
    """Knowledge distillation from finished runs (arXiv:1503.02531)."""

    runs: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Teachers, each a run folder or a run of the study; the mean of their predictions is used."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Weight of the teachers' predictions in the training target; the rest is the label."""


class TrainSettings(Settings):
    """Training recipe: optimizer, schedule, epochs, augmentation and label options."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Maximum number of epochs."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Images per optimizer step."""
    optimizer: Annotated[str, Field(min_length=1, max_length=40)] = "sgd"
    """`sgd` (with classical momentum) or any timm optimizer: adamw, lamb, lion …"""
    optimizer_options: Annotated[dict[str, OptionValue], LATER] = Field(default_factory=dict)
    """Further arguments of the optimizer, such as betas, eps or nesterov."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Peak learning rate of the schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum, for optimizers that have it; Adam-like optimizers have betas instead."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay: added to gradients by `sgd` and `adam`, decoupled in most others."""
    decay_norms_and_biases: Annotated[bool, LATER] = True
    """`false` disables weight decay for all 1-dimensional parameters and for those that the
    architecture lists (position embeddings, class tokens)."""
    layer_decay: Annotated[float | None, Field(gt=0, le=1), LATER] = None
    """Layer-wise learning rate decay: factor per layer, from the head (full rate) downwards."""
    schedule: Literal["constant", "cosine", "onecycle", "linear", "step"] = "constant"
    """`cosine` and `linear` decay over all steps; `onecycle` rises from 1/25 of the rate and decays
    by half cosines; `step` multiplies the rate by `step_factor` every `step_epochs`."""
    warmup_epochs: Annotated[float | None, Field(ge=0), LATER] = None
    """Number of warm-up epochs; none means 30 % of all epochs for `onecycle`, else 0."""
    final_learning_rate: Annotated[float, Field(ge=0), LATER] = 0.0
    """Final learning rate of `cosine`, `linear` and `onecycle`."""
    step_epochs: Annotated[int | None, Field(ge=1), LATER] = None
    """Epochs between decays, for `schedule: step`."""
    step_factor: Annotated[float, Field(gt=0, lt=1), LATER] = 0.1
    """Factor of each decay, for `schedule: step`."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Early stopping: epochs without a lower validation loss before training stops; none disables
    it."""
    head_epochs: Annotated[int, Field(ge=0), LATER] = 0
    """Number of initial epochs in which only the head trains and the backbone is frozen."""
    clip_grad_norm: Annotated[float | None, Field(gt=0), LATER] = None
    """Maximum norm of the gradient of all parameters; larger gradients are scaled down."""
    ema: Annotated[EmaSettings, LATER] = EmaSettings()
    label_smoothing: Annotated[float, Field(ge=0, lt=1), LATER] = 0.0
    """Fraction of each label that is spread evenly over all classes."""
    teacher: Annotated[TeacherSettings, LATER] = TeacherSettings()
    class_weights: Annotated[Literal["none", "balanced"], LATER] = "none"
    """`balanced` weights the loss of an image by images / (classes x images of its class)."""
    sampling: Annotated[Literal["natural", "balanced"], LATER] = "natural"
    """`balanced` draws equally many images of each class per epoch; the total stays the same."""
    augment: AugmentSettings = AugmentSettings()

    def shortened(self, epochs: int) -> TrainSettings:
        """Scale the recipe to other epochs; phases keep their shares, and none is dropped."""
        share = epochs / self.epochs
        head_epochs = max(min(1, self.head_epochs), int(share * self.head_epochs))
        changes: dict[str, object] = {"epochs": epochs, "head_epochs": min(head_epochs, epochs - 1)}
        if self.warmup_epochs is not None:
            changes["warmup_epochs"] = share * self.warmup_epochs
        if self.step_epochs is not None:
            changes["step_epochs"] = max(1, round(share * self.step_epochs))
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _schedule_fits(self) -> TrainSettings:
        warmup = self.warmup_epochs or 0
        if warmup >= self.epochs:
            raise ValueError(f"warmup_epochs: must be below epochs ({self.epochs})")
        if self.head_epochs >= self.epochs:
            raise ValueError(f"head_epochs: must be below epochs ({self.epochs})")
        if (self.schedule == "step") != (self.step_epochs is not None):
            raise ValueError("schedule: step and step_epochs require each other: give both or none")
        if self.final_learning_rate and self.schedule in ("constant", "step"):
            raise ValueError(f"final_learning_rate: schedule: {self.schedule} takes none")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate: must not be above learning_rate")
        return self

    @model_validator(mode="after")
    def _images_and_classes_fit(self) -> TrainSettings:
        if self.augment.mixes and self.batch_size == 1:
            raise ValueError("augment: mixup and cutmix require a batch_size of 2 or more")
        if self.class_weights == "balanced" and self.sampling == "balanced":
            raise ValueError("class_weights and sampling would both balance: remove one of them")
        return self


def _section_name(section: str) -> str | None:
    """Return the name of a RandAugment section; None if timm does not accept the section."""
    # Longest names first, since `mstd0.5` also starts with `m`.
    for name in sorted(_RAND_AUGMENT, key=len, reverse=True):
        if re.fullmatch(f"{name}({_RAND_AUGMENT[name]})", section):
            return name
    return None
