"""Invalid recipes are rejected before training, with one line per error."""

from __future__ import annotations

from typing import Any

import pytest

from clothclf.errors import SettingsError
from clothclf.settings import ModelSettings, TrainSettings
from clothclf.training.check_recipe import check_recipe

FINETUNE = ModelSettings(mode="finetune")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": "adamv"}, r"^train.optimizer: 'adamv' is not known to timm .*adam"),
        ({"optimizer": "AdamW"}, r"did you mean adamw"),
        ({"optimizer": "fusedadam"}, r"'fusedadam' is not supported: .*; use adamw"),
        ({"optimizer": "kron"}, r"'kron' is not supported: .* checkpoint"),
        (
            {"optimizer": "adamw", "optimizer_options": {"beta": 0.9}},
            r"^train.optimizer_options.beta: adamw has no such option \(did you mean betas\?\)$",
        ),
        ({"optimizer_options": {"betas": [0.9, 0.9]}}, r"sgd has no such option \(it takes damp"),
        ({"optimizer_options": {"lr": 1}}, r"options.lr: set train.learning_rate instead$"),
        ({"optimizer_options": {"weight_decay": 1}}, r"set train.weight_decay instead$"),
        (
            {"optimizer": "adamw", "optimizer_options": {"betas": [2, 0.9]}},
            r"^train.optimizer_options \(betas: \(2.0, 0.9\)\): adamw rejects this: Invalid beta",
        ),
        ({"optimizer": "adamw", "optimizer_options": {"betas": 0.9}}, r"adamw rejects this: "),
        ({"optimizer": "adamw", "optimizer_options": {"eps": "x"}}, r"adamw rejects this: "),
        ({"momentum": 0, "optimizer_options": {"nesterov": True}}, r"sgd rejects this: Nesterov"),
    ],
)
def test_a_faulty_optimiser_is_reported_in_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        check_recipe(TrainSettings.model_validate(options), FINETUNE, [])
    assert len(str(caught.value).splitlines()) == 1


def test_all_details_of_options_are_reported_at_once() -> None:
    options = {"optimizer": "lion", "optimizer_options": {"lr": 1, "bats": 2}}
    with pytest.raises(SettingsError) as caught:
        check_recipe(TrainSettings.model_validate(options), FINETUNE, [])
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("key", ["layer_decay", "head_epochs"])
def test_what_moves_the_backbone_is_refused_for_a_frozen_one(key: str) -> None:
    train = TrainSettings.model_validate({key: 1})
    with pytest.raises(SettingsError, match=rf"^train.{key}: model.mode: frozen"):
        check_recipe(train, ModelSettings(), [("test_resnet", 32)])
    check_recipe(train, FINETUNE, [("test_resnet", 32)])


def test_layer_decay_needs_an_architecture_that_tells_its_layers() -> None:
    """timm's PiT does not define layer groups."""
    train = TrainSettings(layer_decay=0.7)
    with pytest.raises(SettingsError) as caught:
        check_recipe(train, FINETUNE, [("test_resnet", 32), ("pit_ti_224", 224)])
    assert str(caught.value).startswith("train.layer_decay: architecture 'pit_ti_224' does not")
    assert len(str(caught.value).splitlines()) == 1


def test_a_good_recipe_passes() -> None:
    options = {"optimizer": "adamw", "optimizer_options": {"betas": [0.9, 0.98], "eps": 1e-6}}
    train = TrainSettings.model_validate({**options, "layer_decay": 0.7, "head_epochs": 1})
    check_recipe(train, FINETUNE, [("test_resnet", 32), ("test_vit", 160)])
