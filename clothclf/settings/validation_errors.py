"""Pydantic's findings in words: which key, what is wrong, and which key may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError

from clothclf.errors import InvalidSettingsError, did_you_mean

SHOWN_CHARACTERS = 80
"""Maximum length of an invalid value in an error message."""
_CREDENTIALS = re.compile(r"://[^/\s]*@")


def invalid_settings(model: type[BaseModel], error: ValidationError) -> InvalidSettingsError:
    """Return the error for settings constructed in Python, with one line per invalid value."""
    lines = []
    for detail in details_of(error):
        dotted, message = describe_error(detail, model)
        lines.append(": ".join(part for part in (model.__name__, dotted, message) if part))
    return InvalidSettingsError("\n".join(dict.fromkeys(lines)))


def details_of(error: ValidationError) -> list[Any]:
    """Return pydantic's error details, without lists that are too short because of a bad item."""
    details = error.errors(include_url=False)
    wrong = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return [item for item in details if item["type"] != "too_short" or item["loc"] not in wrong]


def describe_error(detail: Mapping[str, Any], model: type[BaseModel]) -> tuple[str, str]:
    """Return the dotted path of one of pydantic's error details, and the message.

    A value that may contain a password is not shown.
    """
    parts = [str(part) for part in detail["loc"]]
    dotted = ".".join(parts)
    if detail["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, parts[:-1]))
        return dotted, "unknown key" + (
            did_you_mean(parts[-1], known) or f" (known: {', '.join(known)})"
        )
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = detail.get("input")
    if isinstance(given, str) and len(given) > SHOWN_CHARACTERS:
        given = f"{given[:SHOWN_CHARACTERS]}…"
    hidden = isinstance(given, str) and _CREDENTIALS.search(given)
    scalar = not isinstance(given, (dict, list, tuple, BaseModel)) and detail["type"] != "missing"
    return dotted, f"{message}, not {given!r}" if scalar and not hidden else message


def _keys_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the known keys of the settings at `path`, ignoring list indices."""
    for part in path:
        field = model.model_fields.get(part)
        if field is not None:
            model = next(models_in(field.annotation), model)
    return list(model.model_fields)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Iterate over the settings that an annotation names, at any depth."""
    if is_model(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether an annotation is a class of settings."""
    # In Python 3.10, `tuple[int, ...]` is an instance of `type`, and no class for `issubclass`.
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    return is_class and issubclass(annotation, BaseModel)
