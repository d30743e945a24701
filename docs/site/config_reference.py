"""Write the reference of all config keys: type, default and description of each setting."""

from __future__ import annotations

import html
import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from benchmark.config.schema import descriptions
from benchmark.config.study import StudySettings

INTRO = """\
# Config keys

A study is a YAML file with these keys; `--set KEY=VALUE` sets one on the command line. Only `study`
and `architectures` are required. [Your own data](your-own-data.md) and [Recipes](recipes.md)
explain them with examples. `[]` stands for each item of a list, `KEY` for a key of your choice.
"""
Schema = dict[str, Any]
Section = tuple[str, type[BaseModel], str]
"""Dotted key, settings and description of a section."""
LIMITS = {
    "minimum": "≥",
    "exclusiveMinimum": "&gt;",
    "maximum": "≤",
    "exclusiveMaximum": "&lt;",
}


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRO]
    for prefix, model, text in sections(StudySettings):
        title = f"{'#' * min(4, 2 + prefix.count('.'))} {prefix or 'Top level'}"
        names = [name for name in model.model_fields if not _is_section(model, name)]
        rows = [_row(prefix, model, name) for name in names]
        table = ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows]
        parts.append("\n".join([title, "", text, "", *(table if rows else []), ""]))
    return "\n".join(parts)


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[Section]:
    """Yield each section of the settings, outer ones first."""
    yield prefix, model, _one_line(inspect.getdoc(model) or "")
    for name, field in model.model_fields.items():
        for inner, suffix in _models_in(field.annotation):
            yield from sections(inner, _dotted(prefix, name) + suffix)


def keys() -> list[str]:
    """Return the dotted names of all keys."""
    return [
        _dotted(prefix, name)
        for prefix, model, _ in sections(StudySettings)
        for name in model.model_fields
        if not _is_section(model, name)
    ]


def _row(prefix: str, model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    kind = _type(model.model_json_schema()["properties"][name])
    default = "required"
    if not field.is_required():
        default = _value(field.get_default(call_default_factory=True))
    meaning = _one_line(descriptions(model).get(name, ""))
    key = _dotted(prefix, name)
    return f'| <a id="{html.escape(key)}"></a>{_code(key)} | {kind} | {default} | {meaning} |'


def _is_section(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _models_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
    mark = {tuple: "[]", dict: ".KEY"}.get(get_origin(annotation), "")
    for argument in get_args(annotation):
        yield from _models_in(argument, suffix + mark)


def _type(schema: Schema) -> str:
    """Describe a JSON schema in words."""
    if "$ref" in schema:
        return "section"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(kind) for kind in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " or ".join(_code(str(value)) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list ({_type(schema['items'])})"
    if kind == "object":
        return f"mapping ({_type(schema.get('additionalProperties', {}))})"
    if kind == "string":
        return "path" if schema.get("format") == "path" else "text"
    words = {"integer": "whole number", "boolean": "`true` or `false`", "null": "`null`"}
    return words.get(kind, kind) + _range(schema)


def _range(schema: Schema) -> str:
    limits = [f"{mark}&nbsp;{schema[key]:,}" for key, mark in LIMITS.items() if key in schema]
    return f" {', '.join(limits)}" if limits else ""


def _value(value: Any) -> str:
    plain = to_jsonable_python(value)
    return _code(plain if isinstance(plain, str) else json.dumps(plain))


def _code(text: str) -> str:
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _one_line(text: str) -> str:
    """Join lines and escape what would end a cell of a table."""
    return " ".join(text.split()).replace("|", "&#124;")
