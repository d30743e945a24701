"""A study as the user writes it: a YAML file and `--set`, read strictly, all faults at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from clothclf.errors import SettingsError, did_you_mean
from clothclf.settings import (
    ArchitectureSettings,
    DataSettings,
    Device,
    ModelSettings,
    Settings,
    TrainSettings,
)

MAX_CONFIG_BYTES = 1_000_000
MAX_NUMBER_CHARACTERS = 40
SHOWN_CHARACTERS = 80
"""Of a value that is told to be wrong."""


class TrackingSettings(Settings):
    """Where runs, records and the MLflow store are kept."""

    folder: Path = Path("mlruns")
    """Run folders, caches and, by default, the MLflow store; relative to the current folder."""
    uri: str | None = None
    """MLflow tracking URI; without one MLFLOW_TRACKING_URI, else SQLite in `folder`."""
    weights: Literal["trained", "full"] = "trained"
    """Saved with a run: the parameters that training changed, or all of them."""

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
    """Which of the architectures that are named stay; costs are of one picture at their size."""

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


def load_study(config: Path, assignments: Sequence[str] = ()) -> StudySettings:
    """Read a config file and apply `key.path=value` assignments.

    `config` is a path, or the name of a config that is shipped (`demo`, `configs/demo.yaml`).
    Raises SettingsError with a line for each fault: file, dotted path, what is wrong.
    """
    values = _parse(_read(config), str(config))
    origins: dict[str, str] = {}
    for assignment in assignments:
        dotted = _assign(values, assignment)
        origins[dotted] = _origin(assignment)
    try:
        # JSON mode is strict about types and still takes lists for tuples and text for paths.
        return StudySettings.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [_describe(fault, str(config), origins) for fault in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def shipped_configs() -> list[str]:
    """Names of the configs that come with bench."""
    return sorted(path.name for path in _shipped_folder().glob("*.yaml"))


def to_yaml(settings: BaseModel) -> str:
    """The settings in full, as YAML that `load_study` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(config: Path) -> str:
    try:
        if config.is_dir():
            raise SettingsError(f"{config}: is a folder; give a YAML file")
        if config.exists():
            # A device has no size and no end: what is read is bounded, not what is declared.
            with config.open("rb") as file:
                content = file.read(MAX_CONFIG_BYTES + 1)
            if len(content) > MAX_CONFIG_BYTES:
                raise SettingsError(f"{config}: larger than 1 MB; this is not a study's config")
            return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{config}: is not UTF-8 at byte {error.start + 1}; save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:  # a path too long, with a NUL, or not ours to read
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{str(config)[:200]}: cannot be read: {reason}") from None
    known = shipped_configs()
    if config.parent in (Path(), Path("configs")):
        name = config.name if config.suffix else f"{config.name}.yaml"
        if name in known:
            return (_shipped_folder() / name).read_text("utf-8")
    hint = did_you_mean(config.name, known) or f" (shipped: {', '.join(known)})"
    raise SettingsError(f"{config}: no such config file{hint}")


def _shipped_folder() -> Path:
    """Installed, the configs lie in this package; in a checkout, at the top level."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases (they can grow without bound) and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                problem = f"the key {key.value!r} stands there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        values = super().construct_mapping(node, deep)
        for key in values:
            if not isinstance(key, str):
                problem = f"the key {str(key)[:SHOWN_CHARACTERS]!r} is not text"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return values

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number of a length that somebody would write: longer ones take minutes, or overflow."""
        if len(node.value) > MAX_NUMBER_CHARACTERS:
            problem = f"a number of {len(node.value)} characters"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        kind = (
            super().construct_yaml_int if node.tag.endswith("int") else super().construct_yaml_float
        )
        return kind(node)


for _kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.construct_number)


# YAML 1.1 reads 1e-3 as text; people mean the number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{origin}{where}: not valid YAML: {error.problem}") from None
    except RecursionError:
        raise SettingsError(f"{origin}: not valid YAML: nested too deeply") from None
    except Exception as error:  # constructors of `!!int ""` and the like raise what they please
        told = isinstance(error, (yaml.YAMLError, ValueError)) and str(error)
        first = str(error).splitlines()[0] if told else "a value does not fit its tag"
        raise SettingsError(f"{origin}: not valid YAML: {first}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: must hold keys such as `study:` and `data:`")
    return values


def _assign(values: dict[str, Any], assignment: str) -> str:
    """Apply one `key.path=value`; return the dotted path."""
    dotted, equals, text = assignment.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise SettingsError(f"{_origin(assignment)}: write it as key.path=value")
    value = _parse(f"value: {text}" if text.strip() else "value: null", _origin(assignment))
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
    return f"--set {assignment if len(assignment) <= 200 else assignment[:200] + '…'}"


def _describe(fault: Mapping[str, Any], origin: str, origins: Mapping[str, str]) -> str:
    parts = [str(part) for part in fault["loc"]]
    dotted = ".".join(parts)
    for assigned, text in origins.items():
        if dotted == assigned or dotted.startswith(assigned + "."):
            origin = text
    if fault["type"] == "extra_forbidden":
        known = sorted(_keys_at(StudySettings, parts[:-1]))
        hint = did_you_mean(parts[-1], known) or f" (known: {', '.join(known)})"
        return f"{origin}: {dotted}: unknown key{hint}"
    if fault["type"] == "json_invalid":
        return f"{origin}: nested too deeply, or half of a character in its text"
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = fault.get("input")
    if isinstance(given, str) and len(given) > SHOWN_CHARACTERS:
        given = f"{given[:SHOWN_CHARACTERS]}…"
    tells = not isinstance(given, (dict, list, tuple)) and fault["type"] != "missing"
    shown = f", not {given!r}" if tells else ""
    return f"{origin}: {dotted or 'the file'}: {message}{shown}"


def _keys_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Known keys of the settings that `path` leads to; positions in lists are passed over."""
    for part in path:
        field = model.model_fields.get(part)
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)
