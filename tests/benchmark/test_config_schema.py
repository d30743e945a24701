"""`bench config schema`: editors complete what bench reads, and mark what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmark.config.schema import config_schema
from benchmark.config.study import StudySettings
from benchmark.config.yaml import parse_yaml
from tests.benchmark.conftest import TINY, Bench

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
IN_DOCUMENTS = [
    block
    for path in sorted((ROOT / "docs").glob("*.md"))
    for block in re.findall(r"```yaml\n(.*?)```", path.read_text("utf-8"), re.S)
    if "architectures:" in block and "\nstudy:" in f"\n{block}"
]
MINIMAL = {"study": "s", "architectures": ["resnet18"]}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configs_are_valid(path: Path, validator: Any) -> None:
    validator.validate(parse_yaml(path.read_text("utf-8"), path.name))


def test_configs_in_documents_are_valid(validator: Any) -> None:
    assert len(IN_DOCUMENTS) > 5
    for text in [*IN_DOCUMENTS, TINY]:
        validator.validate(parse_yaml(text, "document"))


@pytest.mark.parametrize(
    "values",
    [
        {"architectures": [{"file": "names.txt"}]},
        {"architectures": [{"name": "vgg16", "head": {"hidden": 256}}]},
        {"data": {"where": {"gender": "Women", "year": [2011, 2012]}}},
        {"data": {"image_size": [64, 96]}},
        {"data": {"image_size": "native", "split": {"keep_twins_together": False}}},
        {"tuning": {"space": {"learning_rate": {"low": 1e-4, "high": 0.1, "log": True}}}},
    ],
    ids=str,
)
def test_forms_that_are_read_are_valid(values: dict[str, Any], validator: Any) -> None:
    validator.validate({**MINIMAL, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"study": "a b"},
        {"architectures": []},
        {"architectures": [{"name": "a", "file": "b"}]},
        {"data": {"lable": "x"}},
        {"train": {"epochs": "ten"}},
        {"model": {"mode": "frozzen"}},
        {"data": {"split": {"train": 2}}},
    ],
    ids=str,
)
def test_what_is_refused_is_invalid(values: dict[str, Any], validator: Any) -> None:
    assert not validator.is_valid({**MINIMAL, **values})


def test_every_key_has_a_description_or_is_a_section() -> None:
    schema = config_schema()
    parts = [schema, *schema["$defs"].values()]
    nameless = [
        name
        for part in parts
        for name, field in part["properties"].items()
        if "description" not in field and "$ref" not in json.dumps(field)
    ]
    assert nameless == []


def test_the_command_prints_it(bench: Bench) -> None:
    done = bench("config", "schema")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert set(printed["properties"]) == set(StudySettings.model_fields)
