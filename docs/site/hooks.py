"""Hooks of mkdocs: pages that are written at build time, and links that leave the folder docs/.

Documents link to each other as files of the repository, where they are read too. In the site, the
README is the first page, files outside docs/ become pages, and the references are generated.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import command_reference
import config_reference
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "docs/example/report.md": "example/report-as-markdown.md",  # report.html is in the same folder
}
"""Documents whose places in the site are others than in docs/."""
SOURCES = {place: ROOT / name for name, place in MOVED.items()}
GENERATED = {"commands.md": command_reference.page, "config-keys.md": config_reference.page}
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[#)])|(?<=src=\")[^\":]+(?=\")")
"""Target of a link to another file, without its anchor, or of an image."""
MERMAID = re.compile(r"^```mermaid\n(.*?)^```\n", re.M | re.S)


def on_files(files: Files, config: Any) -> Files:
    """Add the documents that are moved, the references, and the files that documents link to."""
    for place, path in SOURCES.items():
        files.append(File.generated(config, place, content=path.read_text("utf-8")))
    for place, page in GENERATED.items():
        files.append(File.generated(config, place, content=page()))
    for path in sorted(_linked_files()):
        files.append(File.generated(config, _place(path), content=_as_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to the places of their targets in the site, and show diagrams as tables."""
    here = page.file.src_uri
    folder = SOURCES.get(here, DOCS / here).parent

    def moved(match: re.Match[str]) -> str:
        place = _place((folder / match.group()).resolve())
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return MERMAID.sub(lambda match: _as_tables(match.group(1)), LINK.sub(moved, markdown))


def _linked_files() -> set[Path]:
    """Return the files outside docs/ that documents link to, without the moved documents."""
    documents = [*SOURCES.values(), *DOCS.rglob("*.md")]
    targets = {
        (document.parent / target).resolve()
        for document in documents
        for target in LINK.findall(document.read_text("utf-8"))
    }
    return {path for path in targets if _place(path).startswith("files/") and path.is_file()}


def _place(path: Path) -> str:
    """Return the place in the site of a file or folder of the repository."""
    if path.is_dir():
        path = path / "README.md"
    name = path.relative_to(ROOT).as_posix()
    if path.is_relative_to(DOCS) and name not in MOVED:
        return path.relative_to(DOCS).as_posix()
    return MOVED.get(name, f"files/{name}.md")


def _as_page(path: Path) -> str:
    text = path.read_text("utf-8").rstrip("\n")
    return f"# {path.relative_to(ROOT).as_posix()}\n\n````{path.suffix[1:]}\n{text}\n````\n"


def _as_tables(diagram: str) -> str:
    """Return the imports of a Mermaid flowchart as tables: its script is on another host."""
    tables = []
    for name, body in re.findall(r"subgraph (\w+)\n(.*?)^  end", diagram, re.M | re.S):
        labels = dict(re.findall(r"(\w+)\[(\w+)\]", body))
        used: dict[str, list[str]] = {}
        for key, other in re.findall(r"(\w+) --> (\w+)", body):
            used.setdefault(f"`{labels[key]}`", []).append(f"`{labels[other]}`")
        rows = [f"| {importer} | {', '.join(others)} |" for importer, others in used.items()]
        tables.append("\n".join([f"| {name} | imports |", "| --- | --- |", *rows]))
    note = "Imports that follow from others are left out; `benchmark` imports `clothclf`."
    return "\n\n".join([*tables, note]) + "\n"
