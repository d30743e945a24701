"""JSON schema of configs, with the descriptions of all keys, for editors."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from benchmark.config.study import StudySettings
from clothclf.settings import ArchitectureSettings, DataSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a config file.

    It is as strict as the settings about keys and types; rules that span several keys are checked
    when a config is loaded.
    """
    schema = StudySettings.model_json_schema()
    parts = {**schema["$defs"], StudySettings.__name__: schema}
    for model in _models(StudySettings):
        part = parts[model.__name__]
        texts = descriptions(model)
        for name, field in part["properties"].items():
            field.pop("title", None)
            if name in texts:
                field["description"] = texts[name]
        _add_former_keys(part, model)
    _accept_short_forms(parts)
    return {"$schema": DIALECT, "title": "bench config", **schema}


def config_schema_text() -> str:
    """Return the JSON schema as text."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings below the fields of a class, each on one line."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        tree: Any = ast.parse(textwrap.dedent(inspect.getsource(base)))
        field: Any
        text: Any
        for field, text in itertools.pairwise(tree.body[0].body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                name: Any = field.target
                texts[name.id] = " ".join(ast.literal_eval(text.value).split())
    return texts


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Settings that a config is made of, at any depth."""
    models = {model}
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            models |= _models(inner)
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _add_former_keys(part: dict[str, Any], model: type[BaseModel]) -> None:
    """Accept deprecated keys, which editors then strike out."""
    for former, name in getattr(model, "former_keys", {}).items():
        field = part["properties"][name]
        text = f"Deprecated: use {name}."
        part["properties"][former] = {**field, "deprecated": True, "description": text}


def _accept_short_forms(parts: dict[str, dict[str, Any]]) -> None:
    """Accept what validators convert: names alone, lists in files, and single values."""
    study = parts[StudySettings.__name__]["properties"]["architectures"]
    study["items"] = {"anyOf": [{"type": "string", "minLength": 1}, study["items"]]}
    architecture = parts[ArchitectureSettings.__name__]
    text = "Text file with one architecture name per line, instead of `name`."
    architecture["properties"]["file"] = {"type": "string", "description": text}
    architecture.pop("required")
    architecture["oneOf"] = [{"required": ["name"]}, {"required": ["file"]}]
    where = parts[DataSettings.__name__]["properties"]["where"]
    many = {"type": "array", "items": _SCALAR, "minItems": 1}
    where["additionalProperties"] = {"anyOf": [_SCALAR, many]}
