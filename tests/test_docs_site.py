"""The documentation as a site: it builds without a warning, is whole, and needs no other host."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from benchmark.cli import main

pytest.importorskip("material", reason="the extra docs is not installed")
ROOT = Path(__file__).parents[1]
LOADING = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
"""Attributes that make a browser request something at once."""
FOREIGN = {Path("example/report.html")}
"""Pages that are copied as they are."""


@dataclass
class Page(HTMLParser):
    """What a page defines, links to, loads and says."""

    path: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADING.get(tag) in values and values.get("rel") != "canonical":
            self.loads.append(values[LOADING[tag]])

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    paths = [path for path in site.rglob("*.html") if path.relative_to(site) not in FOREIGN]
    return {path: Page(path) for path in paths}


def text_of(page: Page) -> str:
    return " ".join(" ".join(page.text).split())


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if name != "bench":
        yield name, command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from commands(inner, f"{name} {inner.name}")


def test_every_command_and_option_is_in_the_reference(site: Path, pages: dict[Path, Page]) -> None:
    page = pages[site / "commands.html"]
    text = text_of(page)
    for name, command in commands(main, "bench"):
        assert name.replace(" ", "-") in page.ids, name
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert max(option.opts, key=len) in text, (name, option.opts)


def test_every_config_key_is_in_the_reference_with_a_meaning(
    site: Path, pages: dict[Path, Page]
) -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "site" / "config_reference.py"))
    keys = reference["keys"]()
    assert {"study", "data.split.group", "train.augment.mixup", "tuning.trials"} <= set(keys)
    assert set(keys) <= pages[site / "config-keys.html"].ids
    for _, settings, _ in reference["sections"](reference["StudySettings"]):
        described = reference["descriptions"](settings)
        for name in settings.model_fields:
            assert described.get(name) or reference["_is_section"](settings, name), name


def test_links_and_anchors_resolve(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or page.path.name == "404.html":
                continue  # mkdocs writes the links of 404.html for a server's root
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            anchors = pages[target].ids if target in pages else set()
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and anchor not in anchors):
                broken.append(f"{page.path.relative_to(site)}: {link}")
    assert not broken


def test_nothing_is_loaded_from_another_host(pages: dict[Path, Page]) -> None:
    loaded = {load for page in pages.values() for load in page.loads}
    assert loaded
    assert not [load for load in loaded if urlsplit(load).netloc]


def test_every_document_is_in_the_site(site: Path, pages: dict[Path, Page]) -> None:
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md")]:
        assert (site / path.relative_to(ROOT / "docs")).with_suffix(".html") in pages, path
    assert "Which image architecture should I pick" in text_of(pages[site / "index.html"])
    assert "services" in text_of(pages[site / "files" / "deploy" / "compose.yaml.html"])


def test_no_marks_of_markdown_are_left_in_the_text(pages: dict[Path, Page]) -> None:
    """Lists, tables and footnotes are written alike for repository pages and for the site."""
    for page in pages.values():
        text = text_of(page)
        assert "| --- |" not in text, page.path
        assert "[^1]" not in text, page.path
