"""Check, before the first run, that recipe and weights suit all architectures."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.config.study import StudySettings
from clothclf.data.atomic import json_sha256, write_text
from clothclf.errors import SettingsError, UserError, first_line
from clothclf.models.custom import is_custom
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

FORMAT = 1
"""Version of the checks; increase it when one of them becomes stricter."""


def check_once(
    study: StudySettings,
    entries: Sequence[ArchitectureSettings],
    weights: Mapping[str, Weights],
    cache: Path,
) -> None:
    """Raise UserError if the recipe or the weights do not suit an architecture.

    What passed before, with the same versions of timm and torch and the same content of weights
    files, is remembered in `cache`: the checks import timm and load each file, which takes
    seconds. Custom architectures are always checked, because their code may change.
    """
    _check_crop(study, entries)
    passed = cache / "checks" / f"{_key(study, entries, weights)}.json"
    if passed.exists() and not any(is_custom(entry.name) for entry in entries):
        return
    _check_recipe(study, entries)
    _check_weights(entries, weights)
    passed.parent.mkdir(parents=True, exist_ok=True)
    write_text(passed, "{}\n")


def _key(
    study: StudySettings, entries: Sequence[ArchitectureSettings], weights: Mapping[str, Weights]
) -> str:
    parts = [
        FORMAT,
        *(importlib.metadata.version(name) for name in ("timm", "torch")),
        study.train.model_dump(mode="json"),
        study.model.model_dump(mode="json", exclude={"weights"}),
        None if study.tuning is None else study.tuning.model_dump(mode="json"),
        [[it.model_dump(mode="json"), weights[it.name].sha256] for it in entries],
    ]
    return json_sha256(parts)[:16]


def _check_crop(study: StudySettings, entries: Sequence[ArchitectureSettings]) -> None:
    smallest = min(entry.image_size for entry in entries if isinstance(entry.image_size, int))
    if study.train.augment.crop_padding >= smallest:
        raise SettingsError(
            f"train.augment.crop_padding: must be below data.image_size ({smallest})"
        )


def _check_recipe(study: StudySettings, entries: Sequence[ArchitectureSettings]) -> None:
    from clothclf.training.check_recipe import check_recipe

    sizes = [(entry.name, entry.image_size) for entry in entries]
    known = [(name, size) for name, size in sizes if isinstance(size, int)]
    check_recipe(study.train, study.model, known)
    if study.tuning is None:
        return
    points = study.tuning.points(study.train)
    kinds = {(it.optimizer, it.layer_decay is None, it.head_epochs > 0): it for it in points}
    for recipe in kinds.values():
        try:
            check_recipe(recipe, study.model, known)
        except SettingsError as error:
            raise SettingsError(f"tuning.space: {first_line(error)}") from None


def _check_weights(entries: Sequence[ArchitectureSettings], weights: Mapping[str, Weights]) -> None:
    """Load weight files into every architecture, and raise one error for all problems."""
    from clothclf.models.check_weights import check_weights

    errors = []
    for entry in entries:
        if not isinstance(entry.image_size, int):
            continue
        try:
            check_weights(entry.name, entry.image_size, weights[entry.name])
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError("\n".join(errors))
