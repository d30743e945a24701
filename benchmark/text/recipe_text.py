"""Describe a training recipe, for reports and MLflow: what it adds to a minimal recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clothclf.results import TuningResult
from clothclf.settings import AugmentSettings, RangeSettings, TrainSettings, TuningSettings

# Listed here instead of asking timm, because reports avoid slow imports.
_WITH_MOMENTUM = ("sgd", "momentum", "nesterov", "lars", "larc", "rmsprop", "muon", "madgrad")


def has_momentum(train: TrainSettings) -> bool:
    """Whether the optimizer uses `train.momentum`."""
    return any(kind in train.optimizer for kind in _WITH_MOMENTUM)


def optimizer_words(train: TrainSettings) -> list[str]:
    """Describe optimizer and schedule beyond learning rate, momentum and weight decay."""
    return list(_optimizer(train))


def label_words(train: TrainSettings) -> list[str]:
    """Describe changes to labels, class weights and parameters beyond the cross-entropy loss."""
    return list(_labels(train))


def augment_words(augment: AugmentSettings) -> list[str]:
    """Describe augmentation beyond horizontal flip and padded crop."""
    return list(_augment(augment))


def tuning_words(tuning: TuningSettings) -> str:
    """Describe trials and space of tuning."""
    return f"tuned on validation with {tuning.trials} trials over {space_text(tuning)}"


def space_text(tuning: TuningSettings) -> str:
    """Describe the space of tuning."""
    spaces = [f"{key.replace('_', ' ')} {_values(it)}" for key, it in tuning.space.items()]
    return ", ".join(spaces)


def settings_text(result: TuningResult) -> str:
    """Describe the settings that tuning chose."""
    values = [
        _text(value) if key == "optimizer" else f"{key.replace('_', ' ')} {_text(value)}"
        for key, value in result.best.settings.items()
    ]
    return ", ".join(values) + " (the study's)" * (result.chosen == 0)


def _values(values: RangeSettings | Sequence[object]) -> str:
    if isinstance(values, RangeSettings):
        return f"{values.low:g} to {values.high:g}" + " (log)" * values.log
    return " or ".join(map(_text, values))


def _optimizer(train: TrainSettings) -> Iterator[str]:
    for name, value in train.optimizer_options.items():
        yield f"{name} {_text(value)}"
    if not train.decay_norms_and_biases:
        yield "no weight decay on norms and biases"
    if train.layer_decay is not None:
        yield f"layer-wise lr decay {train.layer_decay:g}"
    if train.warmup_epochs is not None:
        yield f"warm-up {train.warmup_epochs:g} epochs"
    if train.step_epochs is not None:
        yield f"decay factor {train.step_factor:g} every {train.step_epochs} epochs"
    if train.final_learning_rate:
        yield f"final learning rate {train.final_learning_rate:g}"
    if train.clip_grad_norm is not None:
        yield f"gradient norm clipped to {train.clip_grad_norm:g}"
    if train.head_epochs:
        yield f"head only for {train.head_epochs} epochs"


def _labels(train: TrainSettings) -> Iterator[str]:
    if train.label_smoothing:
        yield f"label smoothing {train.label_smoothing:g}"
    if train.teacher.runs:
        teachers = " and ".join(train.teacher.runs)
        yield f"distillation from run {teachers} (weight {train.teacher.share:.0%})"
    if train.ema.decay is not None:
        yield f"EMA decay {train.ema.decay:g}"
        if not train.ema.warmup:
            yield "EMA without warm-up"
    if train.class_weights == "balanced":
        yield "balanced class weights"
    if train.sampling == "balanced":
        yield "balanced sampling"


def _augment(augment: AugmentSettings) -> Iterator[str]:
    if augment.random_resized_crop is not None:
        yield f"random resized crop, scale {augment.random_resized_crop:g} to 1"
    if augment.rand_augment is not None:
        yield f"RandAugment {augment.rand_augment}"
    if augment.random_erasing:
        yield f"random erasing {augment.random_erasing:g}"
    if augment.mixes:  # each batch gets one of the two
        kinds = {"mixup": augment.mixup, "CutMix": augment.cutmix}
        names = " or ".join(f"{name} {alpha:g}" for name, alpha in kinds.items() if alpha)
        yield names + f" in {augment.mix_probability:.0%} of batches" * (
            augment.mix_probability < 1
        )


def _text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(_text(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
