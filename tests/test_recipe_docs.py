"""docs/recipes.md names every key with its default, and every recipe; its files are valid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from benchmark.config.recipes import read_recipe, shipped_recipes
from benchmark.config.study import load_study
from clothclf.settings import ModelSettings, TrainSettings, TuningSettings
from clothclf.training.check_recipe import check_recipe

TEXT = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `((?:train|model)\.[\w.]+)` \| `([^`]*)` \|", TEXT, re.M))
BLOCKS = {
    found.group(1): found.group(2)
    for found in re.finditer(r"```yaml\n# ([\w.]+)\n(.*?)```", TEXT, re.S)
}


def keys(settings: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from keys(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def test_every_key_stands_there_with_its_default() -> None:
    actual = dict([*keys(TrainSettings(), "train"), *keys(ModelSettings(), "model")])
    written = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in actual.items()
    }
    assert written == ROWS


def test_every_key_of_tuning_stands_there_and_its_study_is_read(tmp_path: Path) -> None:
    written = re.findall(r"^\| `tuning\.(\w+)` \|", TEXT, re.M)
    assert written == list(TuningSettings.model_fields)
    path = tmp_path / "tuned.yaml"
    path.write_text(BLOCKS["tuned.yaml"])
    tuning = load_study(path).tuning
    assert tuning is not None
    assert list(tuning.space) == ["optimizer", "learning_rate", "label_smoothing"]


def test_every_recipe_stands_there() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", TEXT, re.M)) == set(shipped_recipes())


def test_the_study_of_the_docs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_text(BLOCKS["pets.yaml"])
    study = load_study(path)
    assert (study.model.mode, study.train.schedule, study.train.epochs) == (
        "finetune",
        "onecycle",
        4,
    )


def test_the_recipe_of_the_docs_can_be_carried_out(tmp_path: Path) -> None:
    path = tmp_path / "gentle.yaml"
    path.write_text(BLOCKS["gentle.yaml"])
    values = read_recipe(str(path), "docs")
    train = TrainSettings.model_validate_json(json.dumps(values["train"]))
    check_recipe(train, ModelSettings.model_validate(values["model"]), [("test_resnet", 32)])


@pytest.mark.parametrize("name", ["pit_ti_224", "caformer_s18", "csatv2"])
def test_what_layer_decay_is_said_to_refuse_is_refused(name: str) -> None:
    with pytest.raises(Exception, match="does not define layer groups"):
        check_recipe(TrainSettings(layer_decay=0.7), ModelSettings(mode="finetune"), [(name, 224)])
