"""Derive the studies of a selection's rungs; their runs are ordinary runs."""

from __future__ import annotations

import functools
import itertools
import json
import math

from benchmark.config.recipes import RecipeSettings, read_recipe
from benchmark.config.study import StudySettings
from benchmark.select.finalist_rungs import PROBE_BATCH
from benchmark.select.rung import MIN_EPOCHS, ImageCounts, Rung, Training
from benchmark.select.selection_state import Final
from clothclf.settings import AtMostSettings, AugmentSettings, DataSettings, TrainSettings

# On standardized features, one learning rate suits all backbones.
PROBE = TrainSettings(
    batch_size=PROBE_BATCH,
    learning_rate=0.01,
    schedule="cosine",
    augment=AugmentSettings(horizontal_flip=False),
)
# Heads overfit on all images; weight decay and a lower rate keep the loss falling to the end.
HEADS = PROBE.model_copy(update={"learning_rate": 0.001, "weight_decay": 0.03})
FINETUNE = "finetune-fast"
"""Name of the finalists' recipe."""
MAX_NAME = 80
"""Maximum length of the study's part in a rung's study name, used for MLflow and folders."""


MIN_STEPS = 100
"""Minimum training steps of a worthwhile fine-tuning."""
MAX_TIMES = 2
"""Maximum factor on the recipe's epochs of a fine-tuning, if time permits."""


def rung_label(rung: Rung, number: int) -> str:
    """Label of a rung: `r0`, `r1`, …, `heads`, `final`, `seeds`."""
    return f"r{number}" if rung.kind == "probe" else rung.kind


def rung_study(
    study: StudySettings, final: Final, number: int, rung: Rung, image_counts: ImageCounts
) -> StudySettings:
    """Study of a rung."""
    if rung.kind in ("probe", "heads"):
        return probe_study(study, number, rung, image_counts)
    return final_study(study, final, rung, image_counts)


def probe_study(
    study: StudySettings, number: int, rung: Rung, image_counts: ImageCounts
) -> StudySettings:
    """Study of heads on standardized features of frozen backbones, for a rung."""
    train = HEADS if rung.kind == "heads" else PROBE
    model = {
        "mode": "frozen",
        "batch_norm": "fixed",
        "standardize_features": True,
        "precision": "float32" if study.model.precision == "auto" else study.model.precision,
        "weights": "none" if study.model.mode == "scratch" else study.model.weights,
    }
    return study.model_copy(
        update={
            "study": rung_name(study, rung_label(rung, number)),
            "data": _fewer(study.data, rung, image_counts),
            "model": study.model.model_copy(update=model),
            "recipe": None,
            "tuning": None,
            "train": train.model_copy(update={"epochs": rung.epochs}),
            "seeds": study.seeds[:1],
            "measure": False,
        }
    )


def final_study(
    study: StudySettings, final: Final, rung: Rung, image_counts: ImageCounts
) -> StudySettings:
    """Study of the finalists: fine-tuned, unless the study trains them differently."""
    model, train = study.model, study.train
    if final == "finetune" and model.mode == "frozen":
        changes = {"mode": "finetune", "batch_norm": "fixed", "standardize_features": False}
        model, train = model.model_copy(update=changes), fine_tuning()
    further = (seed for seed in itertools.count() if seed not in study.seeds)
    more = itertools.islice(further, max(0, rung.seeds - len(study.seeds)))
    return study.model_copy(
        update={
            "study": rung_name(study, "final"),
            "data": _fewer(study.data, rung, image_counts),
            "recipe": FINETUNE if train is not study.train else study.recipe,
            "model": model,
            "train": train.shortened(rung.epochs),
            "seeds": (*study.seeds, *more),
            "measure": rung.measure,
        }
    )


@functools.cache
def fine_tuning() -> TrainSettings:
    """Recipe for fine-tuning finalists: only the head for one epoch, then all parameters.

    A random head would distort the pretrained features at first (arXiv:2202.10054).
    """
    values = json.dumps(read_recipe(FINETUNE, "bench select"))
    recipe = RecipeSettings.model_validate_json(values).train
    return recipe.model_copy(update={"head_epochs": 1})


def training_of(study: StudySettings, final: Final, image_counts: ImageCounts) -> Training:
    """Full training of finalists, for estimating times."""
    tuned = final == "finetune" and study.model.mode == "frozen"
    train = fine_tuning() if tuned else study.train
    whole = tuned or study.model.mode == "finetune"
    half = math.ceil(train.epochs / 2)
    steps = math.ceil(MIN_STEPS / max(1, image_counts.train // train.batch_size))
    # With few images, more epochs are needed for MIN_STEPS.
    minimum = min(max(half, steps), MAX_TIMES * train.epochs if tuned else train.epochs)
    return Training(
        epochs=train.epochs,
        seeds=len(study.seeds),
        measure=study.measure,
        frozen=study.model.mode == "frozen" and not tuned,
        heads=whole,
        least_epochs=minimum if whole else MIN_EPOCHS,
        most_epochs=MAX_TIMES * train.epochs if tuned else None,
        tuning=study.tuning,
    )


def rung_name(study: StudySettings, rung: str) -> str:
    """Study name of a rung."""
    return f"{study.study[:MAX_NAME]}.select-{rung}"


def _fewer(data: DataSettings, rung: Rung, image_counts: ImageCounts) -> DataSettings:
    """Limit the images of each split, unless the limit covers all of them."""

    def limit(needed: int, available: int, own: int | None) -> int | None:
        return own if needed >= available else needed

    own = data.at_most
    limited = AtMostSettings(
        train=limit(rung.train, image_counts.train, own.train),
        valid=limit(rung.valid, image_counts.valid, own.valid),
        test=limit(rung.test, image_counts.test, own.test),
    )
    return data.model_copy(update={"at_most": limited})
