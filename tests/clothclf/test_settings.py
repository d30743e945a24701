"""Settings refuse what cannot be meant, and name the field."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from clothclf.errors import InvalidSettingsError, UserError
from clothclf.settings import (
    LATER,
    ArchitectureSettings,
    AugmentSettings,
    DataSettings,
    DemoSettings,
    Device,
    EmaSettings,
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
        *(EmaSettings, SplitSettings, TrainSettings),
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
        (TrainSettings, "schedule", ["constant", "cosine", "onecycle", "linear"], ["poly"]),
        (TrainSettings, "optimizer", ["sgd", "adamw"], ["", "a" * 41]),
        (TrainSettings, "layer_decay", [None, 0.5, 1], [0, 1.1]),
        (TrainSettings, "clip_grad_norm", [None, 1], [0]),
        (TrainSettings, "label_smoothing", [0, 0.1], [1, -0.1]),
        (TrainSettings, "class_weights", ["none", "balanced"], ["even"]),
        (TrainSettings, "sampling", ["natural", "balanced"], ["even"]),
        (AugmentSettings, "random_resized_crop", [None, 0.08, 1], [0, 1.1]),
        (AugmentSettings, "random_erasing", [0, 0.25, 1], [-0.1, 1.1]),
        (AugmentSettings, "mixup", [0, 0.2], [-1]),
        (AugmentSettings, "cutmix", [0, 1], [-1]),
        (EmaSettings, "decay", [None, 0.999], [0, 1]),
        (AugmentSettings, "crop_padding", [0, 128], [-1, 129]),
        (HeadSettings, "hidden", [None, 1], [0]),
        (HeadSettings, "dropout", [0, 0.9], [1, -0.1]),
        (DataSettings, "image_size", [8, 1024, (8, 9), "native"], [7, 1025, True, 9.5, "big"]),
        (DataSettings, "image_size", [], [None, [], [8, 8], [7], [8, "native"]]),
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


def test_python_code_gets_the_sentences_of_the_command_line() -> None:
    with pytest.raises(ValueError, match="image_sze") as caught:
        DataSettings(image_sze=64, split={"trian": 0.5})  # type: ignore[call-arg, arg-type]
    assert isinstance(caught.value, UserError)
    assert str(caught.value).splitlines() == [
        "DataSettings: split.trian: unknown key (did you mean train?)",
        "DataSettings: image_sze: unknown key (did you mean image_size or image or max_images?)",
    ]
    with pytest.raises(
        InvalidSettingsError, match=r"^DataSettings: source kaggle requires data.path"
    ):
        DataSettings(source="kaggle")


def test_nested_settings_and_records_are_read_without_python_code() -> None:
    """Pydantic's own constructor reads them: as fast, with the place of each fault."""
    assert not DataSettings.__pydantic_custom_init__
    with pytest.raises(ValidationError) as caught:
        DataSettings.model_validate_json('{"split": {"trian": 0.5}}')
    assert caught.value.errors()[0]["loc"] == ("split", "trian")


def test_a_password_in_a_wrong_value_is_not_shown() -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        ModelSettings(mode="http://me:secret@host")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_shares_add_up() -> None:
    assert SplitSettings(train=0.7, valid=0.2, test=0.1).test == 0.1
    with pytest.raises(InvalidSettingsError, match=r"must add up to 1, not 1\.2"):
        SplitSettings(train=0.8, valid=0.2, test=0.2)
    with pytest.raises(InvalidSettingsError, match="must add up to 1"):
        SplitSettings(train=0.7)
    with pytest.raises(InvalidSettingsError):
        SplitSettings(train=0.8, valid=0.2, test=0.0)


def test_a_source_has_what_it_needs_and_nothing_else() -> None:
    with pytest.raises(InvalidSettingsError, match=r"kaggle requires data\.path"):
        DataSettings(source="kaggle")
    with pytest.raises(ValidationError, match=r"demo takes no data\.path"):
        DataSettings.model_validate({"path": "some.zip"})
    assert DataSettings.model_validate({"source": "kaggle", "path": "a.zip"}).path is not None


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_some_options_are_for_a_frozen_backbone_only(mode: str) -> None:
    with pytest.raises(ValidationError, match="drifting requires mode: frozen"):
        ModelSettings.model_validate({"mode": mode, "batch_norm": "drifting"})
    with pytest.raises(ValidationError, match="standardize_features requires mode: frozen"):
        ModelSettings.model_validate({"mode": mode, "standardize_features": True})
    with pytest.raises(InvalidSettingsError, match="standardize_features requires mode: frozen"):
        ModelSettings(batch_norm="drifting", standardize_features=True)


@pytest.mark.parametrize("weights", ["pretrained", "some/file.safetensors"])
def test_from_scratch_no_weights_can_be_asked_for(weights: str) -> None:
    with pytest.raises(InvalidSettingsError, match="scratch starts from random weights"):
        ModelSettings(mode="scratch", weights=weights)
    assert ModelSettings(mode="finetune", weights=weights).weights == weights


def test_an_architecture_has_a_name() -> None:
    with pytest.raises(InvalidSettingsError):
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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"warmup_epochs": 10}, r"warmup_epochs: must be below epochs \(10\)"),
        ({"head_epochs": 10}, r"head_epochs: must be below epochs \(10\)"),
        ({"schedule": "step"}, "step and step_epochs require each other"),
        ({"schedule": "cosine", "step_epochs": 2}, "step and step_epochs require each other"),
        ({"final_learning_rate": 1e-4}, "final_learning_rate: schedule: constant takes none"),
        ({"schedule": "linear", "final_learning_rate": 1}, "must not be above learning_rate"),
        ({"class_weights": "balanced", "sampling": "balanced"}, "would both balance"),
        ({"augment": {"crop_padding": 4, "random_resized_crop": 0.5}}, "both crop"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TrainSettings.model_validate(changes)


@pytest.mark.parametrize("text", ["rand", "rand-m9-mstd0.5", "rand-m15-n3-mmax20-inc1-tweights"])
def test_rand_augment_is_written_as_timm_does(text: str) -> None:
    assert AugmentSettings(rand_augment=text).rand_augment == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("m9", "must start with rand"),
        ("rand-x3", "section 'x3' is not known"),
        ("rand-m", "section 'm' is not known"),
        ("rand-p1.5", "section 'p1.5' is not known"),
        ("rand-m9-m8", "section 'm8' is repeated"),
        ("rand-n0", "section 'n0' is not known"),
        ("rand-tall", "section 'tall' is not known"),
    ],
)
def test_a_faulty_rand_augment_is_reported_by_its_section(text: str, says: str) -> None:
    with pytest.raises(InvalidSettingsError, match=says):
        AugmentSettings(rand_augment=text)


@pytest.mark.parametrize(
    ("asked", "values"),
    [("Summer", ("Summer",)), (2012, ("2012",)), ([2012.0, " a "], ("2012", "a")), (1.5, ("1.5",))],
)
def test_values_to_filter_by_are_text(asked: object, values: tuple[str, ...]) -> None:
    """One or several, numbers or text: as tables are compared."""
    assert DataSettings.model_validate({"where": {"x": asked}}).where == {"x": values}


@pytest.mark.parametrize("asked", [None, [], [None], {"y": 1}])
def test_a_filter_without_a_value_is_refused(asked: object) -> None:
    with pytest.raises(ValidationError, match="x: give one value, or a list of values"):
        DataSettings.model_validate({"where": {"x": asked}})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "folder"}, "source folder requires data.path"),
        ({"source": "table"}, "source table requires data.path"),
        ({"source": "folder", "path": "x", "label": "y"}, "source folder has no column 'y'"),
        ({"source": "folder", "path": "x", "where": {"y": 1}}, "data.where.class only"),
        ({"source": "folder", "path": "x", "split": {"column": "y"}}, "its folders are the split"),
        ({"source": "folder", "path": "x", "image": "y"}, "takes no data.image"),
        ({"options": {"y": 1}}, "takes no data.options: they are for plug-ins"),
    ],
)
def test_a_source_is_reported_nothing_that_it_does_not_know(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        DataSettings.model_validate(options)


def test_keys_of_earlier_versions_are_read_in_stored_settings() -> None:
    """Nested ones too; a key under both of its names is refused as unknown."""
    stored = '{"source": "table", "path": "x", "picture": "photo"}'
    assert DataSettings.from_json(stored).image == "photo"

    class Outer(Settings):
        data: DataSettings

    assert Outer.from_json(f'{{"data": {stored}}}').data.image == "photo"
    with pytest.raises(ValidationError, match="picture"):
        DataSettings.from_json('{"source": "table", "path": "x", "picture": "a", "image": "b"}')
    with pytest.raises(ValidationError):
        DataSettings.from_json("{")
