"""The studies that a rung is made of: a selection's runs are plain runs of these."""

from __future__ import annotations

import functools
import json

from benchmark.recipe import RecipeSettings, read_recipe
from benchmark.select.schedule import PROBE_BATCH, Pictures, Rung, Training
from benchmark.select.selection import Final
from benchmark.study import StudySettings
from clothclf.settings import AtMostSettings, AugmentSettings, DataSettings, TrainSettings

# On standardised features one rate suits all bodies.
PROBE = TrainSettings(
    batch_size=PROBE_BATCH,
    learning_rate=0.01,
    schedule="cosine",
    augment=AugmentSettings(horizontal_flip=False),
)
FINETUNE = "finetune-fast"
"""The named recipe of finalists."""
LONGEST_NAME = 80
"""Of a study, before what tells its rung: MLflow's experiments and folders are named so."""


def probe_study(study: StudySettings, number: int, rung: Rung, pictures: Pictures) -> StudySettings:
    """A head on a frozen body's standardised features, with a rung's pictures and epochs."""
    model = {
        "mode": "frozen",
        "batch_norm": "fixed",
        "standardize_features": True,
        "precision": "float32" if study.model.precision == "auto" else study.model.precision,
        "weights": "none" if study.model.mode == "scratch" else study.model.weights,
    }
    return study.model_copy(
        update={
            "study": rung_name(study, f"r{number}"),
            "data": _fewer(study.data, rung, pictures),
            "model": study.model.model_copy(update=model),
            "recipe": None,
            "train": PROBE.model_copy(update={"epochs": rung.epochs}),
            "seeds": study.seeds[:1],
            "measure": False,
        }
    )


def final_study(
    study: StudySettings, final: Final, rung: Rung, pictures: Pictures
) -> StudySettings:
    """How finalists are trained: fine-tuned, unless the study itself trains them otherwise."""
    model, train = study.model, study.train
    if final == "finetune" and model.mode == "frozen":
        changes = {"mode": "finetune", "batch_norm": "fixed", "standardize_features": False}
        model, train = model.model_copy(update=changes), fine_tuning()
    return study.model_copy(
        update={
            "study": rung_name(study, "final"),
            "data": _fewer(study.data, rung, pictures),
            "recipe": FINETUNE if train is not study.train else study.recipe,
            "model": model,
            "train": shortened(train, rung.epochs),
        }
    )


@functools.cache
def fine_tuning() -> TrainSettings:
    """The recipe that finalists are fine-tuned by."""
    values = json.dumps(read_recipe(FINETUNE, "bench select"))
    return RecipeSettings.model_validate_json(values).train


def shortened(train: TrainSettings, epochs: int) -> TrainSettings:
    """A recipe of fewer epochs, whose phases keep their shares."""
    share = epochs / train.epochs
    changes: dict[str, object] = {"epochs": epochs, "head_epochs": int(share * train.head_epochs)}
    if train.warmup_epochs is not None:
        changes["warmup_epochs"] = share * train.warmup_epochs
    if train.step_epochs is not None:
        changes["step_epochs"] = max(1, round(share * train.step_epochs))
    return train.model_copy(update=changes)


def training_of(study: StudySettings, final: Final) -> Training:
    """How finalists are trained when nothing is cut short, for working out times."""
    frozen = study.model.mode == "frozen"
    tuned = final == "finetune" and frozen
    return Training(
        epochs=fine_tuning().epochs if tuned else study.train.epochs,
        seeds=len(study.seeds),
        measure=study.measure,
        frozen=frozen and not tuned,
    )


def rung_name(study: StudySettings, rung: str) -> str:
    """Name of a rung's study."""
    return f"{study.study[:LONGEST_NAME]}.select-{rung}"


def _fewer(data: DataSettings, rung: Rung, pictures: Pictures) -> DataSettings:
    """The study's data, at most so many of each split; left alone where that is all of them."""

    def limit(asked: int, there: int, own: int | None) -> int | None:
        return own if asked >= there else asked

    own = data.at_most
    at_most = AtMostSettings(
        train=limit(rung.train, pictures.train, own.train),
        valid=limit(rung.valid, pictures.valid, own.valid),
        test=limit(rung.test, pictures.test, own.test),
    )
    return data.model_copy(update={"at_most": at_most})
