"""Write the reference of all commands from their help texts."""

from __future__ import annotations

import html
import inspect
import re
import textwrap
from collections.abc import Iterator

import click

from benchmark.cli import main

INTRO = """\
# Commands

Every command with its options; `bench COMMAND --help` prints the same. Exit codes: 0 for success,
1 if a run failed or a check found a difference, 2 for invalid input, 130 after Ctrl-C.
[Commands by example](command-examples.md) are a shorter list.
"""


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([INTRO, *_sections(main, "bench", 2)])


def _sections(command: click.Command, name: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    if name != "bench":
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        yield f"{'#' * level} {name}\n\n```text\n{usage}\n```\n\n{_description(command.help or '')}"
        yield _options(command, context)
        level += 1
    if isinstance(command, click.Group):
        for inner in sorted(command.commands):
            yield from _sections(command.commands[inner], f"{name} {inner}", level)


def _description(text: str) -> str:
    r"""Convert a help text; its examples, which `\b` marks, become code."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            lines = paragraph.removeprefix("\b\n").splitlines()
            if lines[1:] and all(line.startswith("  ") for line in lines[1:]):
                parts.append(_escaped(lines.pop(0)) + "\n")
            elif not lines[0].startswith("bench "):
                parts.append(_escaped(" ".join(lines)) + "\n")
                continue
            kind = "sh" if lines[0].lstrip().startswith("bench ") else "text"
            parts.append(f"```{kind}\n{textwrap.dedent(chr(10).join(lines))}\n```\n")
        else:
            parts.append(_escaped(" ".join(paragraph.split())) + "\n")
    return "\n".join(parts)


def _options(command: click.Command, context: click.Context) -> str:
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = [f"| {_code(record[0])} | {_escaped(record[1])} |" for record in records if record]
    if not rows:
        return ""
    return "\n".join(["| option | meaning |", "| --- | --- |", *rows, ""])


def _code(text: str) -> str:
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _escaped(text: str) -> str:
    """Escape what Markdown would read as marks, except in code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<|\[\]@])", _entity, part) for part in parts
    )


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match.group())};"
