"""Named recipes: what a study's `model` and `train` hold where the study itself does not say."""

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
"""Below the configs that are shipped."""
WHOLE = "optimizer_options"
"""A key that is taken or left as a whole: options of one optimiser are none of another's."""


class RecipeSettings(Settings):
    """Everything that a recipe's file may say."""

    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with bench."""
    names = config_names(shipped_folder() / FOLDER)
    return [name.removesuffix(".yaml") for name in names]


def with_recipe(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """The keys of a study, and those of its recipe where the study does not give them.

    `origin` is where the study names its recipe, for messages. Raises SettingsError.
    """
    recipe = values.get("recipe")
    if not isinstance(recipe, str) or not recipe:
        return values  # none, or a fault that is told with all others
    filled = dict(values)
    for part, given in read_recipe(recipe, origin).items():
        own = values.get(part)
        if isinstance(own, dict):
            filled[part] = _fill(own, given)
        elif own is None:
            filled[part] = given
    return filled


def recipe_over(values: dict[str, Any], recipe: str, origin: str) -> dict[str, Any]:
    """The keys of a study where a recipe's keys replace its own; raises SettingsError."""
    filled = {**values, "recipe": recipe}
    for part, given in read_recipe(recipe, origin).items():
        own = values.get(part)
        if isinstance(own, dict):
            filled[part] = _fill(given, own)
        elif own is None:
            filled[part] = given
    return filled


def overriding_keys(own: dict[str, Any], recipe: dict[str, Any]) -> list[str]:
    """Dotted keys of `own` that have other values than the recipe's and go before them."""
    found = []
    for key in own.keys() & recipe.keys():
        both = own[key], recipe[key]
        if key != WHOLE and all(isinstance(value, dict) for value in both):
            found += [f"{key}.{inner}" for inner in overriding_keys(*both)]
        elif both[0] != both[1]:
            found.append(key)
    return sorted(found)


def read_recipe(recipe: str, origin: str) -> dict[str, Any]:
    """The keys of a recipe: one that is shipped, by its name, or a file, by its path."""
    name, values = _parse(recipe, origin)
    try:
        RecipeSettings.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [describe_error(fault, name, RecipeSettings) for fault in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None
    return {part: given for part, given in values.items() if given is not None}


def _parse(recipe: str, origin: str) -> tuple[str, dict[str, Any]]:
    """What to call a recipe in messages, and its keys."""
    such_as = "`model:` and `train:`"
    shipped = shipped_recipes()
    if recipe in shipped:
        text = (shipped_folder() / FOLDER / f"{recipe}.yaml").read_text("utf-8")
        return f"recipe {recipe}", parse_yaml(text, f"recipe {recipe}", such_as)
    shown = recipe if len(recipe) <= 200 else f"{recipe[:200]}…"
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") and (own := read_file(path)) is not None:
        return shown, parse_yaml(own, shown, such_as)
    hint = did_you_mean(recipe, shipped) or f" (shipped: {', '.join(shipped)})"
    raise SettingsError(
        f"{origin}: recipe: {shown!r} is no recipe that is shipped, and no YAML file{hint}"
    )


def _fill(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    filled = {**given, **own}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict) and key != WHOLE:
            filled[key] = _fill(value, given[key])
    if WHOLE not in own and own.get("optimizer", given.get("optimizer")) != given.get("optimizer"):
        filled.pop(WHOLE, None)
    return filled
