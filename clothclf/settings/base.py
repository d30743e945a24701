"""What all settings share: they are frozen, know their keys, and say what names a run."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
