"""Strict YAML parsing, and lookup of config files and shipped configs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from benchmark.config.credentials import shown_uri
from clothclf.bounded_file import read_at_most
from clothclf.errors import SettingsError, did_you_mean
from clothclf.settings import validation_errors
from clothclf.settings.validation_errors import SHOWN_CHARACTERS

MAX_CONFIG_BYTES = 1_000_000
MAX_NUMBER_CHARACTERS = 40
SUFFIXES = (".yaml", ".yml")


def read_file(config: Path) -> str | None:
    """Read a text file, or return None if it does not exist; raises SettingsError."""
    try:
        if config.is_dir():
            raise SettingsError(f"{config}: is a folder; give a YAML file")
        if config.exists():
            # Limit the bytes read, not the file size: a device has no size and no end.
            content = read_at_most(config, MAX_CONFIG_BYTES + 1)
            if len(content) > MAX_CONFIG_BYTES:
                raise SettingsError(f"{config}: larger than 1 MB; not a study config")
            return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{config}: is not UTF-8 at byte {error.start + 1}; save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:  # path too long, contains a NUL, or not readable
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{str(config)[:200]}: cannot be read: {reason}") from None
    return None


def read_config(config: Path) -> str:
    """Read a config file or a shipped config; raises SettingsError.

    The suffix is optional: `clothing` is `clothing.yaml` or `clothing.yml`.
    """
    named = config.name and config.suffix not in SUFFIXES
    paths = [config.with_name(config.name + suffix) for suffix in SUFFIXES] if named else []
    # A folder of the same name comes last: it probably contains the data.
    paths.insert(len(paths) if os.path.isdir(config) else 0, config)
    for path in paths:
        text = read_file(path)
        if text is not None:
            return text
    known = config_names(shipped_folder())
    if config.parent in (Path(), Path("configs")):
        name = config.name if config.suffix else f"{config.name}.yaml"
        if name in known:
            return (shipped_folder() / name).read_text("utf-8")
    name = f"{config.name}{SUFFIXES[0]}" if named else config.name
    near = dict.fromkeys([*config_names(config.parent), *known])
    hint = did_you_mean(name, near) or f" (built-in: {', '.join(known)})"
    raise SettingsError(f"{config}: no such config file{hint}")


def config_names(folder: Path) -> list[str]:
    """Names of the YAML files in a folder."""
    return sorted(path.name for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))


def shipped_folder() -> Path:
    """Folder of the shipped configs: in the package if installed, else at the top level."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML loader that rejects aliases (unbounded expansion) and duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; rejects aliases."""
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; rejects duplicate keys and keys that are not text."""
        keys: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in keys:
                problem = f"duplicate key {key.value!r}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            keys.add(str(key.value))
        values = super().construct_mapping(node, deep)
        for key in values:
            if not isinstance(key, str):
                problem = f"the key {str(key)[:SHOWN_CHARACTERS]!r} is not text"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return values

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Parse a number of limited length; longer ones take minutes to parse, or overflow."""
        if len(node.value) > MAX_NUMBER_CHARACTERS:
            problem = (
                f"a number has {len(node.value)} characters, at most {MAX_NUMBER_CHARACTERS} are "
                "allowed"
            )
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        kind = (
            super().construct_yaml_int if node.tag.endswith("int") else super().construct_yaml_float
        )
        return kind(node)


for _kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.construct_number)


# YAML 1.1 parses 1e-3 as a string; users mean the number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str, origin: str, such_as: str = "`study:` and `data:`") -> dict[str, Any]:
    """Parse a YAML mapping; raises SettingsError that starts with `origin` and the line."""
    try:
        values = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{origin}{where}: not valid YAML: {error.problem}") from None
    except RecursionError:
        raise SettingsError(f"{origin}: not valid YAML: nested too deeply") from None
    except Exception as error:  # constructors, for example of `!!int ""`, raise any exception
        has_message = isinstance(error, (yaml.YAMLError, ValueError)) and str(error)
        first = str(error).splitlines()[0] if has_message else "a value does not match its tag"
        raise SettingsError(f"{origin}: not valid YAML: {first}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: must contain keys such as {such_as}")
    return values


def describe_error(
    detail: Mapping[str, Any],
    origin: str,
    model: type[BaseModel],
    origins: Mapping[str, str] | None = None,
) -> str:
    """Describe one pydantic error in one line: origin, key, reason.

    `origins` maps dotted paths to their origin if it differs from `origin`.
    """
    given = detail.get("input")
    if isinstance(given, str):
        detail = {**detail, "input": shown_uri(given)}
    dotted, message = validation_errors.describe_error(detail, model)
    for assigned, text in (origins or {}).items():
        if dotted == assigned or dotted.startswith(assigned + "."):
            origin = text
    if detail["type"] == "json_invalid":
        return f"{origin}: nested too deeply, or contains an incomplete character"
    return f"{origin}: {dotted or 'the file'}: {message}"
