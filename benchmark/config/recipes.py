"""Recipes: named defaults for the keys `model` and `train` of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.config.yaml import (
    config_names,
    describe_error,
    parse_yaml,
    read_file,
    shipped_folder,
)
from clothclf.errors import SettingsError, did_you_mean
from clothclf.settings import ModelSettings, Settings, TrainSettings

FOLDER = "recipes"
"""Subfolder of the shipped configs that contains the recipes."""
WHOLE = "optimizer_options"
"""Key that is never merged: the options of one optimizer do not apply to another."""


class RecipeSettings(Settings):
    """Schema of a recipe file."""

    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


def shipped_recipes() -> list[str]:
    """Names of the recipes that are shipped with bench."""
    names = config_names(shipped_folder() / FOLDER)
    return [name.removesuffix(".yaml") for name in names]


def with_recipe(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Fill in missing keys of a study from its recipe; keys of the study take precedence.

    `origin` is the place that names the recipe, for error messages. Raises SettingsError.
    """
    recipe = values.get("recipe")
    if not isinstance(recipe, str) or not recipe:
        return values  # no recipe, or an invalid one that validation reports
    filled = dict(values)
    for part, given in read_recipe(recipe, origin).items():
        own = values.get(part)
        if isinstance(own, dict):
            filled[part] = _fill(own, given)
        elif own is None:
            filled[part] = given
    return filled


def recipe_over(values: dict[str, Any], recipe: str, origin: str) -> dict[str, Any]:
    """Override keys of a study with those of a recipe; raises SettingsError."""
    filled = {**values, "recipe": recipe}
    for part, given in read_recipe(recipe, origin).items():
        own = values.get(part)
        if isinstance(own, dict):
            filled[part] = _fill(given, own)
        elif own is None:
            filled[part] = given
    return filled


def overriding_keys(own: dict[str, Any], recipe: dict[str, Any]) -> list[str]:
    """Dotted keys of `own` that override the recipe with a different value."""
    overriding = []
    for key in own.keys() & recipe.keys():
        both = own[key], recipe[key]
        if key != WHOLE and all(isinstance(value, dict) for value in both):
            overriding += [f"{key}.{inner}" for inner in overriding_keys(*both)]
        elif both[0] != both[1]:
            overriding.append(key)
    return sorted(overriding)


def read_recipe(recipe: str, origin: str) -> dict[str, Any]:
    """Read a shipped recipe by name, or a recipe file by path; raises SettingsError."""
    name, values = _parse(recipe, origin)
    try:
        RecipeSettings.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [describe_error(detail, name, RecipeSettings) for detail in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None
    return {part: given for part, given in values.items() if given is not None}


def _parse(recipe: str, origin: str) -> tuple[str, dict[str, Any]]:
    """Name of a recipe for error messages, and its keys."""
    such_as = "`model:` and `train:`"
    shipped = shipped_recipes()
    if recipe in shipped:
        text = (shipped_folder() / FOLDER / f"{recipe}.yaml").read_text("utf-8")
        return f"recipe {recipe}", parse_yaml(text, f"recipe {recipe}", such_as)
    shown = recipe if len(recipe) <= 200 else f"{recipe[:200]}…"
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") and (own := read_file(path)) is not None:
        return shown, parse_yaml(own, shown, such_as)
    hint = did_you_mean(recipe, shipped) or f" (built-in: {', '.join(shipped)})"
    raise SettingsError(
        f"{origin}: recipe: {shown!r} is neither a built-in recipe nor a YAML file{hint}"
    )


def _fill(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    filled = {**given, **own}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict) and key != WHOLE:
            filled[key] = _fill(value, given[key])
    if WHOLE not in own and own.get("optimizer", given.get("optimizer")) != given.get("optimizer"):
        filled.pop(WHOLE, None)
    return filled
