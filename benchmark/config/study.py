"""Schema and strict loading of study configs (YAML and `--set`), with all errors at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
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
    TuningSettings,
    with_current_keys,
)
from clothclf.settings.validation_errors import details_of


class TrackingSettings(Settings):
    """Location of runs, records and the MLflow store."""

    folder: Path = Path("mlruns")
    """Folder of runs, caches and, by default, the MLflow store; relative to the current folder."""
    uri: str | None = None
    """MLflow tracking URI without a password [default: MLFLOW_TRACKING_URI, else SQLite]."""
    weights: Literal["trained", "full"] = "trained"
    """Parameters to save with a run: those that training changed, or all of them."""
    report: bool = True
    """Log the report, its plots and its table to MLflow after new runs; takes some seconds."""

    @field_validator("uri")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None and has_password(value):
            raise ValueError(
                f"remove the password, because configs are saved with every run; set {USER} and "
                f"{PASSWORD} or {PASSWORD_FILE}, or the whole URI in {URI}"
            )
        return value

    @field_validator("folder")
    @classmethod
    def _a_path_that_systems_take(cls, value: Path) -> Path:
        if "\0" in str(value) or any(len(part.encode()) > 255 for part in value.parts):
            raise ValueError("invalid path: it contains a NUL character or a name that is too long")
        return value


class LimitsSettings(Settings):
    """Limits of each run, which is terminated beyond them; unlimited by default."""

    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Maximum run time of the process of a run in seconds."""
    memory_mib: Annotated[int, Field(ge=256)] | None = None
    """Maximum host memory of the process of a run in MiB, without memory-mapped files."""


class SelectionSettings(Settings):
    """Filters on architectures; costs are those of one image at their input size."""

    exclude: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    """Names or wildcards to exclude."""
    max_gmacs: Annotated[float, Field(gt=0)] | None = None
    """Maximum MACs of one forward pass, in 10^9."""
    max_params: Annotated[float, Field(gt=0)] | None = None
    """Maximum parameters, in 10^6."""


class StudySettings(Settings):
    """A config file: the data, the architectures, and how they are trained."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Name of the study and of its MLflow experiment."""
    data: DataSettings = DataSettings()
    architectures: Annotated[tuple[ArchitectureSettings, ...], Field(min_length=1)]
    """Architectures to compare: names, wildcards or lists of names, each alone or with options."""
    selection: SelectionSettings = SelectionSettings()
    recipe: Annotated[str, Field(min_length=1)] | None = None
    """Name of a shipped recipe, or path of a file, with defaults for `model` and `train`."""
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    tuning: TuningSettings | None = None
    """Tuning of training settings for each run; none trains with those of `train`."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (0,)
    """Seeds of all random draws; every architecture runs once with each."""
    device: Device = "auto"
    """`auto` (a GPU if there is one, else the CPU), `cpu`, `mps`, `cuda` or `cuda:N`."""
    measure: bool = True
    """Measure latency, throughput and memory after each run, which takes 5 to 15 s."""
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
                "train.teacher: distillation does not train a frozen backbone; set model.mode to "
                "finetune or scratch"
            )
        return self

    @model_validator(mode="after")
    def _points_are_valid(self) -> StudySettings:
        if self.tuning is not None:
            self.tuning.points(self.train)
        return self

    @property
    def several_sizes(self) -> bool:
        """Whether the study compares several input sizes."""
        own = any(entry.image_size is not None for entry in self.architectures)
        return own or not isinstance(self.data.image_size, int)

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("must not list a seed twice")
        return value


def load_study(
    config: Path,
    assignments: Sequence[str] = (),
    recipe: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> StudySettings:
    """Read a config file and apply `key.path=value` assignments.

    `config` is a path, or the name of a shipped config (`demo`, `configs/demo.yaml`). Precedence,
    highest first: assignments, `recipe`, the file, the recipe that the file or an assignment names.
    `notify` receives a message for each deprecated key, and if keys of the file override a recipe
    named by an assignment. Raises SettingsError with one line per error: file, dotted path, reason.
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
    return _validated(values, str(config), origins)


def load_study_text(text: str, origin: str) -> StudySettings:
    """Validate the text of a config; `origin` names it in errors. Raises SettingsError."""
    values = with_recipe(parse_yaml(text, origin), origin)
    return _validated(with_current_keys(StudySettings, values), origin, {})


def _validated(values: dict[str, Any], origin: str, origins: Mapping[str, str]) -> StudySettings:
    try:
        # JSON mode is strict about types but accepts lists for tuples and strings for paths.
        return StudySettings.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [
            describe_error(detail, origin, StudySettings, origins) for detail in details_of(error)
        ]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def to_yaml(settings: BaseModel) -> str:
    """Serialize all settings to YAML that `load_study` can read."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _assign(values: dict[str, Any], assignment: str) -> str:
    """Apply one `key.path=value` assignment and return its dotted path."""
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
            raise SettingsError(f"{_origin(assignment)}: {key} is a value, not a section")
        target = inner
    target[keys[-1]] = value["value"]
    return ".".join(keys)


def _origin(assignment: str) -> str:
    """Describe an assignment for messages, redacted and truncated to 200 characters."""
    dotted, equals, text = assignment.partition("=")
    shown = f"{dotted}{equals}{shown_uri(text)}"
    return f"--set {shown if len(shown) <= 200 else shown[:200] + '…'}"
