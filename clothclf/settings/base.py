"""Base class and shared types of all settings, and which of their values identify a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from clothclf.settings.faults import invalid_settings

Fraction = Annotated[float, Field(gt=0, lt=1)]
MIN_SIDE, MAX_SIDE = 8, 1024
"""Minimum and maximum side of a square image in pixels."""
MAX_SIZES = 20
"""Maximum number of image sizes in a sweep."""


def _one_size(value: object) -> object:
    if value == "native" or _is_side(value):
        return value
    raise ValueError(f"should be {_SIDE_TEXT}, or native")


def _sizes(value: object) -> object:
    if value == "native" or _is_side(value):
        return value
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"should be {_SIDE_TEXT}, a list of such sizes, or native")
    if not 1 <= len(value) <= MAX_SIZES or not all(_is_side(item) for item in value):
        raise ValueError(f"should list 1 to {MAX_SIZES} sizes, each {_SIDE_TEXT}")
    if len(set(value)) != len(value):
        raise ValueError("should not list a size twice")
    return tuple(value)


def _is_side(value: object) -> bool:
    return type(value) is int and MIN_SIDE <= value <= MAX_SIDE


_SIDE_TEXT = f"a whole number of pixels from {MIN_SIDE} to {MAX_SIDE}"
# One validator for all alternatives, so that an error is reported once and not once per type.
ImageSize = Annotated[int | Literal["native"], BeforeValidator(_one_size)]
"""Size in pixels, or `native` for timm's default size of the architecture."""
ImageSizes = Annotated[int | tuple[int, ...] | Literal["native"], BeforeValidator(_sizes)]
"""One size for all architectures, several for a sweep, or `native` for each one's default."""


class Settings(BaseModel):
    """Base class of all settings: frozen, without unknown keys, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    former_keys: ClassVar[Mapping[str, str]] = {}
    """Deprecated keys, which are still read, with their current names."""

    @model_validator(mode="before")
    @classmethod
    def _read_former_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not cls.former_keys.keys() & values.keys():
            return values
        # If both are given, the deprecated one is kept and then rejected as an unknown key.
        now = {key: new for key, new in cls.former_keys.items() if new not in values}
        return {now.get(key, key): value for key, value in values.items()}

    def __init__(self, /, **values: Any) -> None:
        """Validate the values; raises InvalidSettingsError with one line per error."""
        __tracebackhide__ = True
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise invalid_settings(type(self), error) from None

    # Without this, pydantic would also call `__init__` for nested settings and when reading JSON.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def former_keys_in(
    settings: type[Settings], values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield each deprecated key in raw values as a dotted path, with its current path."""
    for key, value in values.items():
        if key in settings.former_keys:
            yield prefix + key, prefix + settings.former_keys[key]
        field = settings.model_fields.get(key)
        inner = field.annotation if field is not None else None
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Settings):
            yield from former_keys_in(inner, value, f"{prefix}{key}.")


class _Later:
    """Type of `LATER`."""


LATER = _Later()
"""Marks a key (`Annotated[..., LATER]`) that was added after the first runs. At its default value
it is excluded from the run's identity, so that earlier runs keep their run_id."""


def identity(settings: Settings) -> dict[str, Any]:
    """The values that name a run, as plain JSON values."""
    values = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if any(isinstance(mark, _Later) for mark in field.metadata) and (
            value == field.get_default(call_default_factory=True)
        ):
            del values[name]
        elif isinstance(value, Settings):
            values[name] = identity(value)
    return values
