"""What all settings share: they are frozen, know their keys, and say what names a run."""

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

from clothclf.settings.faults import invalid_settings

Fraction = Annotated[float, Field(gt=0, lt=1)]
MIN_SIDE, MAX_SIDE = 8, 1024
"""Of a square image, in pixels."""
MAX_SIZES = 20
"""In a sweep."""


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
        raise ValueError("a size stands there twice")
    return tuple(value)


def _is_side(value: object) -> bool:
    return type(value) is int and MIN_SIDE <= value <= MAX_SIDE


_SIDE_TEXT = f"a whole number of pixels from {MIN_SIDE} to {MAX_SIDE}"
# One check for all alternatives, so that a fault is told once and not for each of them.
ImageSize = Annotated[int | Literal["native"], BeforeValidator(_one_size)]
"""Pixels, or the size that timm made the architecture for."""
ImageSizes = Annotated[int | tuple[int, ...] | Literal["native"], BeforeValidator(_sizes)]
"""One size for all, several for a sweep, or each architecture's own."""


_Settings = TypeVar("_Settings", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    former_keys: ClassVar[Mapping[str, str]] = {}
    """Keys of earlier versions, and what they are called now; they are still read."""

    def __init__(self, /, **values: Any) -> None:
        """Raises InvalidSettingsError with a line for each fault."""
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
            values = with_current_keys(cls, json.loads(text))
        except (ValueError, RecursionError):
            values = None
        return cls.model_validate_json(json.dumps(values))

    # Else pydantic would call `__init__` for nested settings, and when it reads JSON.
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
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            value = with_current_keys(inner, value, on_former, f"{prefix}{name}.")
        renamed[name] = value
    return renamed


class _Later:
    """Type of `LATER`."""


LATER = _Later()
"""Marks a key (`Annotated[..., LATER]`) that came after runs were made without it: at its default
it is left out of what names a run, so that those runs keep their names."""


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
