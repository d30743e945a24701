"""Settings refuse what cannot be meant, and name the field."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from clothclf.settings import (
    LATER,
    ArchitectureSettings,
    AugmentSettings,
    DataSettings,
    DemoSettings,
    Device,
    HeadSettings,
    ModelSettings,
    Settings,
    SplitSettings,
    TrainSettings,
    identity,
)


@pytest.mark.parametrize(
    "kind",
    [
        *(AugmentSettings, DataSettings, DemoSettings, HeadSettings, ModelSettings),
        *(SplitSettings, TrainSettings),
    ],
)
def test_defaults_are_valid_frozen_and_complete(kind: type[BaseModel]) -> None:
    """Nothing has to be said, nothing unknown may be said, nothing changes afterwards."""
    settings = kind()
    assert kind.model_validate(settings.model_dump()) == settings
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({"no_such_key": 1})
    name = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, name, getattr(settings, name))


@pytest.mark.parametrize(
    ("kind", "name", "good", "bad"),
    [
        (TrainSettings, "epochs", [1, 10_000], [0, -1, 10_001, 1.5, "many"]),
        (TrainSettings, "batch_size", [1, 65_536], [0, 65_537]),
        (TrainSettings, "learning_rate", [1e-9, 10], [0, -1, float("nan"), float("inf")]),
        (TrainSettings, "momentum", [0, 0.99], [-0.1, 1, float("nan")]),
        (TrainSettings, "weight_decay", [0, 1], [-1e-9, float("inf")]),
        (TrainSettings, "patience", [None, 1], [0]),
        (TrainSettings, "schedule", ["constant", "cosine"], ["linear"]),
        (TrainSettings, "optimizer", ["sgd"], ["adam"]),
        (AugmentSettings, "crop_padding", [0, 128], [-1, 129]),
        (HeadSettings, "hidden", [None, 1], [0]),
        (HeadSettings, "dropout", [0, 0.9], [1, -0.1]),
        (DataSettings, "image_size", [8, 1024], [7, 1025]),
        (DataSettings, "min_images_per_class", [1], [0]),
        (DataSettings, "max_classes", [None, 2], [1]),
        (DataSettings, "max_images", [None, 1], [0]),
        (DemoSettings, "images_per_class", [5, 10_000], [4, 10_001]),
        (DemoSettings, "seed", [0], [-1]),
        (SplitSettings, "seed", [0], [-1]),
        (ModelSettings, "mode", ["frozen", "finetune", "scratch"], ["half"]),
        (ModelSettings, "weights", ["auto", "none", "some/folder"], [""]),
    ],
)
def test_ranges(kind: type[BaseModel], name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(kind.model_validate({name: value}), name) == value
    for value in bad:
        with pytest.raises(ValidationError) as caught:
            kind.model_validate({name: value})
        assert [fault["loc"] for fault in caught.value.errors()] == [(name,)]


def test_shares_add_up() -> None:
    assert SplitSettings(train=0.7, valid=0.2, test=0.1).test == 0.1
    with pytest.raises(ValidationError, match=r"must add up to 1, not 1\.2"):
        SplitSettings(train=0.8, valid=0.2, test=0.2)
    with pytest.raises(ValidationError, match="must add up to 1"):
        SplitSettings(train=0.7)
    with pytest.raises(ValidationError):
        SplitSettings(train=0.8, valid=0.2, test=0.0)


def test_a_source_has_what_it_needs_and_nothing_else() -> None:
    with pytest.raises(ValidationError, match=r"kaggle needs data\.path"):
        DataSettings(source="kaggle")
    with pytest.raises(ValidationError, match=r"demo takes no data\.path"):
        DataSettings.model_validate({"path": "some.zip"})
    assert DataSettings.model_validate({"source": "kaggle", "path": "a.zip"}).path is not None


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_some_options_are_for_a_frozen_body_only(mode: str) -> None:
    with pytest.raises(ValidationError, match="drifting is for mode: frozen"):
        ModelSettings.model_validate({"mode": mode, "batch_norm": "drifting"})
    with pytest.raises(ValidationError, match="standardize_features needs mode: frozen"):
        ModelSettings.model_validate({"mode": mode, "standardize_features": True})
    with pytest.raises(ValidationError, match="standardize_features needs mode: frozen"):
        ModelSettings(batch_norm="drifting", standardize_features=True)


@pytest.mark.parametrize("weights", ["pretrained", "some/file.safetensors"])
def test_from_scratch_no_weights_can_be_asked_for(weights: str) -> None:
    with pytest.raises(ValidationError, match="scratch starts from random weights"):
        ModelSettings(mode="scratch", weights=weights)
    assert ModelSettings(mode="finetune", weights=weights).weights == weights


def test_an_architecture_has_a_name() -> None:
    with pytest.raises(ValidationError):
        ArchitectureSettings(name="")
    assert ArchitectureSettings(name="vgg16").head is None


@pytest.mark.parametrize("name", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_devices_are_torchs_names(name: str) -> None:
    assert TypeAdapter(Device).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cpu;ls", "xcuda", "cpu\n"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Device).validate_python(name)


class _Inner(Settings):
    old: int = 1
    new: Annotated[int, LATER] = 2


class _Outer(Settings):
    inner: _Inner = _Inner()
    more: Annotated[_Inner, LATER] = Field(default_factory=_Inner)


def test_keys_that_came_later_name_a_run_only_where_they_are_set() -> None:
    assert identity(_Outer()) == {"inner": {"old": 1}}
    changed = _Outer(inner=_Inner(new=3), more=_Inner(old=4))
    assert identity(changed) == {"inner": {"old": 1, "new": 3}, "more": {"old": 4}}
