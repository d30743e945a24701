"""Pydantic's findings in words: which key, what is wrong, and which key may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from clothclf.errors import InvalidSettingsError, did_you_mean

SHOWN_CHARACTERS = 80
"""Of a value that is told to be wrong."""
_CREDENTIALS = re.compile(r"://[^/\s]*@")


def invalid_settings(model: type[BaseModel], error: ValidationError) -> InvalidSettingsError:
    """The error for settings that Python code constructs, a line for each fault."""
    lines = []
    for fault in faults_of(error):
        dotted, told = describe_fault(fault, model)
        lines.append(": ".join(part for part in (model.__name__, dotted, told) if part))
    return InvalidSettingsError("\n".join(dict.fromkeys(lines)))


def faults_of(error: ValidationError) -> list[Any]:
    """Pydantic's faults, but for lists that it takes for too short because an item is wrong."""
    found = error.errors(include_url=False)
    wrong = {fault["loc"][:end] for fault in found for end in range(len(fault["loc"]))}
    return [item for item in found if item["type"] != "too_short" or item["loc"] not in wrong]


def describe_fault(fault: Mapping[str, Any], model: type[BaseModel]) -> tuple[str, str]:
    """The dotted path of one of pydantic's faults, and what is wrong there.

    A value that may hold a password is not shown.
    """
    parts = [str(part) for part in fault["loc"]]
    dotted = ".".join(parts)
    if fault["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, parts[:-1]))
        return dotted, "unknown key" + (
            did_you_mean(parts[-1], known) or f" (known: {', '.join(known)})"
        )
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = fault.get("input")
    if isinstance(given, str) and len(given) > SHOWN_CHARACTERS:
        given = f"{given[:SHOWN_CHARACTERS]}…"
    hidden = isinstance(given, str) and _CREDENTIALS.search(given)
    tells = not isinstance(given, (dict, list, tuple, BaseModel)) and fault["type"] != "missing"
    return dotted, f"{message}, not {given!r}" if tells and not hidden else message


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
