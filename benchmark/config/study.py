"""A study as the user writes it: a YAML file and `--set`, read strictly, all faults at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from benchmark.config.credentials import (
    PASSWORD,
    PASSWORD_FILE,
    URI,
    USER,
    has_password,
    shown_uri,
)
from benchmark.config.recipes import overriding_keys, read_recipe, recipe_over, with_recipe
from benchmark.config.yaml import (
    describe_error,
    parse_yaml,
    read_config,
)
from clothclf.errors import SettingsError
from clothclf.settings import (
    ArchitectureSettings,
    DataSettings,
    Device,
    ModelSettings,
    Settings,
    TrainSettings,
    with_current_keys,
)
from clothclf.settings.faults import details_of


class TrackingSettings(Settings):
    """Where runs, records and the MLflow store are kept."""

    folder: Path = Path("mlruns")
    """Run folders, caches and, by default, the MLflow store; relative to the current folder."""
    uri: str | None = None
    """MLflow tracking URI without a password; without a URI MLFLOW_TRACKING_URI, else SQLite."""
    weights: Literal["trained", "full"] = "trained"
    """Saved with a run: the parameters that training changed, or all of them."""

    @field_validator("uri")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None and has_password(value):
            raise ValueError(
                "leave the password out, configs are kept with every run: set "
                f"{USER} and {PASSWORD} or {PASSWORD_FILE}, or give the whole URI in {URI}"
            )
        return value

    @field_validator("folder")
    @classmethod
    def _a_path_that_systems_take(cls, value: Path) -> Path:
        if "\0" in str(value) or any(len(part.encode()) > 255 for part in value.parts):
            raise ValueError("no system takes such a path: it has a NUL or a name too long")
        return value


class LimitsSettings(Settings):
    """What a run may take before it is ended; without, as much as it likes."""

    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds from the start of a run's process to its end."""
    memory_mib: Annotated[int, Field(ge=256)] | None = None
    """Mebibytes that a run's process may allocate on the host; mapped files do not count."""


class SelectionSettings(Settings):
    """Which of the architectures that are named stay; costs are of one image at their size."""

    exclude: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    """Names or wildcards that are left out of all that are named."""
    max_gmacs: Annotated[float, Field(gt=0)] | None = None
    """10^9 multiply-adds of one forward pass, at most."""
    max_params: Annotated[float, Field(gt=0)] | None = None
    """10^6 parameters, at most."""


class StudySettings(Settings):
    """Everything that a config file may say."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Name of the study and of its MLflow experiment."""
    data: DataSettings = DataSettings()
    architectures: Annotated[tuple[ArchitectureSettings, ...], Field(min_length=1)]
    selection: SelectionSettings = SelectionSettings()
    recipe: Annotated[str, Field(min_length=1)] | None = None
    """Name of a recipe that is shipped, or path of a file: what `model` and `train` do not say."""
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (0,)
    device: Device = "auto"
    measure: bool = True
    """Measure latency, throughput and memory after each run; it takes 10 to 20 seconds."""
    limits: LimitsSettings = LimitsSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("architectures", mode="before")
    @classmethod
    def _names_alone(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return tuple({"name": item} if isinstance(item, str) else item for item in value)

    @model_validator(mode="after")
    def _teachers_see_images(self) -> StudySettings:
        if self.train.teacher.runs and self.model.mode == "frozen":
            raise ValueError(
                "train.teacher: a network whose body is frozen is not taught; set model.mode to "
                "finetune or scratch"
            )
        return self

    @property
    def several_sizes(self) -> bool:
        """Whether runs of several input sizes are compared."""
        own = any(entry.image_size is not None for entry in self.architectures)
        return own or not isinstance(self.data.image_size, int)

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a seed stands there twice")
        return value


def load_study(
    config: Path,
    assignments: Sequence[str] = (),
    recipe: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> StudySettings:
    """Read a config file and apply `key.path=value` assignments.

    `config` is a path, or the name of a config that is shipped (`demo`, `configs/demo.yaml`).
    What it says of `model` and `train` goes before what its recipe says, but not before `recipe`;
    assignments go before both. `notify` gets a sentence for each deprecated key, and where the
    file's keys override a recipe that an assignment names.
    Raises SettingsError with a line for each error: file, dotted path, what is wrong.
    """
    values = parse_yaml(read_config(config), str(config))
    if recipe is not None:
        values = recipe_over(values, recipe, f"--recipe {recipe}")
    own = copy.deepcopy(values)
    origins: dict[str, str] = {}
    for assignment in assignments:
        dotted = _assign(values, assignment)
        origins[dotted] = _origin(assignment)
    if recipe is not None and "recipe" in origins:
        raise SettingsError(f"--recipe {recipe} and {origins['recipe']}: give one recipe")
    values = with_recipe(values, origins.get("recipe", str(config)))
    named = values.get("recipe")
    if "recipe" in origins and isinstance(named, str) and named:
        overriding = overriding_keys(own, read_recipe(named, origins["recipe"]))
        if overriding:
            notify(
                f"recipe {named}: {', '.join(overriding)} of {config} override it; use "
                f"--recipe {named} to override them"
            )
    values = with_current_keys(
        StudySettings, values, lambda old, new: notify(f"{old} is deprecated; use {new}")
    )
    try:
        # JSON mode is strict about types and still takes lists for tuples and text for paths.
        return StudySettings.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [
            describe_error(fault, str(config), StudySettings, origins)
            for fault in details_of(error)
        ]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def to_yaml(settings: BaseModel) -> str:
    """The settings in full, as YAML that `load_study` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _assign(values: dict[str, Any], assignment: str) -> str:
    """Apply one `key.path=value`; return the dotted path."""
    dotted, equals, text = assignment.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise SettingsError(f"{_origin(assignment)}: write it as key.path=value")
    value = parse_yaml(f"value: {text}" if text.strip() else "value: null", _origin(assignment))
    target = values
    for key in keys[:-1]:
        inner = target.get(key)
        if inner is None:
            inner = target[key] = {}
        if not isinstance(inner, dict):
            raise SettingsError(f"{_origin(assignment)}: {key} holds a value, not further keys")
        target = inner
    target[keys[-1]] = value["value"]
    return ".".join(keys)


def _origin(assignment: str) -> str:
    """How an assignment is named in a message: whole, unless it is very long."""
    dotted, equals, text = assignment.partition("=")
    shown = f"{dotted}{equals}{shown_uri(text)}"
    return f"--set {shown if len(shown) <= 200 else shown[:200] + '…'}"
