"""What the documents tell people to type can be typed."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from benchmark.cli import main
from benchmark.config.study import load_study

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]


def help_texts(command: click.Command) -> Iterator[str]:
    yield command.help or ""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from help_texts(inner)


def examples() -> list[str]:
    """Lines that begin with `bench`, in code blocks of documents and in help texts."""
    texts = [
        block
        for path in DOCUMENTS
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", path.read_text(), re.S)
    ]
    lines = (line.strip() for text in [*texts, *help_texts(main)] for line in text.splitlines())
    lines = (re.sub(r"^(.*&& )?(\.venv/bin/|uv run )?bench ", "bench ", line) for line in lines)
    return sorted({line.split(" #")[0].strip() for line in lines if line.startswith("bench ")})


def test_there_are_examples() -> None:
    assert len(examples()) > 10


@pytest.mark.parametrize("line", examples())
def test_every_example_is_understood(line: str) -> None:
    """Verbs, options and choices exist; assignments name real keys."""
    words = shlex.split(line)[1:]
    command: click.Command = main
    name = "bench"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, words = words[0], words[1:]
        result = command.get_command(click.Context(command), name)
        assert result is not None, f"no verb {name}"
        command = result
    try:
        context = command.make_context(name, words)
    except click.exceptions.Exit:
        return  # --help and --version end at once
    if "assignments" in context.params:
        load_study(context.params["config"], context.params["assignments"])


def anchors(path: Path) -> set[str]:
    """Anchors of a page: its own ids, and its headings as GitHub names them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    named = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "docs/example/README.md"], ids=lambda path: path.name
)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)", path.read_text()):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            page = path.parent / file if file else path
            assert page.exists(), target
            assert not anchor or anchor in anchors(page), target


def test_the_diagram_of_packages_is_that_of_the_imports() -> None:
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_packages.py"))
    assert drawing["PAGE"].read_text("utf-8") == drawing["page"](), "run docs/draw_packages.py"
