"""Base class and shared types of all settings, and which of their values identify a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from clothclf.settings.validation_errors import invalid_settings, is_model

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


_Settings = TypeVar("_Settings", bound="Settings")


class Settings(BaseModel):
    """Base class of all settings: frozen, without unknown keys, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    former_keys: ClassVar[Mapping[str, str]] = {}
    """Deprecated keys, which are still read, with their current names."""

    upgrade: ClassVar[Callable[[Any], Any]] = staticmethod(lambda values: values)
    """Function from the raw values of stored JSON, of earlier versions too, to current ones."""

    def __init__(self, /, **values: Any) -> None:
        """Validate the values; raises InvalidSettingsError with one line per error."""
        __tracebackhide__ = True
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise invalid_settings(type(self), error) from None

    @classmethod
    def from_json(cls: type[_Settings], text: str) -> _Settings:
        """Read stored JSON, of earlier versions too; raises ValidationError."""
        with contextlib.suppress(ValidationError):
            return cls.model_validate_json(text)
        try:
            values = with_current_keys(cls, cls.upgrade(json.loads(text)))
        except (ValueError, RecursionError):
            values = None
        return cls.model_validate_json(json.dumps(values))

    # Without this, pydantic would also call `__init__` for nested settings and when reading JSON.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def with_current_keys(
    settings: type[BaseModel],
    values: Any,
    on_former: Callable[[str, str], None] = lambda former, current: None,
    prefix: str = "",
) -> Any:
    """Raw values under the current names of their keys; `on_former` gets each dotted pair.

    Where a key is there under both names, the former one stays, and is refused as unknown.
    """
    if not isinstance(values, Mapping):
        return values
    former: Mapping[str, str] = getattr(settings, "former_keys", {})
    renamed: dict[str, Any] = {}
    for key, value in values.items():
        name = former.get(key, key)
        if name != key and name in values:
            name = key
        elif name != key:
            on_former(prefix + key, prefix + name)
        field = settings.model_fields.get(name)
        inner = field.annotation if field is not None else None
        if is_model(inner):
            value = with_current_keys(inner, value, on_former, f"{prefix}{name}.")
        renamed[name] = value
    return renamed


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
        if any(isinstance(mark, _Later) for mark in field.metadata) and value == (
            field.get_default(call_default_factory=True) if field.default_factory else field.default
        ):
            del values[name]
        elif isinstance(value, Settings):
            values[name] = identity(value)
    return values
