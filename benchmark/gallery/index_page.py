"""The first page of a gallery: every architecture of every study, with filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.gallery.studies import PackedStudy
from benchmark.gallery.study_page import CLASSES, COLUMNS, IMAGES, IndexLine, StudyPages
from benchmark.report.page import document
from benchmark.report.page.tables import Table

HERE = Path(__file__).parent
INDEX_SCRIPT = "index.js"
FILTERS = {
    "data": "Data set",
    "classes": "Classes",
    "images": "Training images",
    "training": "Training",
    "architecture": "Architecture",
    "device": "Measured on",
}
"""Titles of the filters by key of a line's choices."""
_ORDERED = {
    "classes": [name for _, name in CLASSES],
    "images": [name for _, name in IMAGES],
}


@dataclass(frozen=True)
class Filter:
    """A menu above the table; its values are tags of rows."""

    key: str
    title: str
    options: Sequence[tuple[str, str]]
    """Tag and text of each choice."""


def index_script() -> str:
    """Return the script of the page."""
    page = document.PAGE
    return document.joined(page / "elements.js", page / "tables.js", HERE / "index.js")


def render_index(pages: Mapping[PackedStudy, StudyPages], runs: int, architectures: int) -> str:
    """Render the page; `architectures` are the rows of the page of counted costs, 0 without it."""
    lines = [line for own in pages.values() for line in own.lines]
    tags = _tags(lines)
    table = Table(
        "Studies",
        COLUMNS,
        tuple(
            replace(item.line, key=str(number), tags=_tags_of(item, tags))
            for number, own in enumerate(pages.values())
            for item in own.lines
        ),
        frozenset({0, 1, len(COLUMNS) - 1}),
    )
    filters = [
        Filter(key, title, [(tag, text) for (own, text), tag in tags.items() if own == key])
        for key, title in FILTERS.items()
    ]
    values = {
        "table": table,
        "filters": [item for item in filters if len(item.options) > 1],
        "studies": len(pages),
        "data_sets": sum(key == "data" for key, _ in tags),
        "kinds": sum(key == "architecture" for key, _ in tags),
        "runs": runs,
        "architectures": architectures,
    }
    names = {tag: text for (key, text), tag in tags.items() if key == "architecture"}
    data = {"architectures": names}
    return document.render_page(HERE / "index.html", values, [INDEX_SCRIPT], data, "assets")


def _tags(lines: Sequence[IndexLine]) -> dict[tuple[str, str], str]:
    """Tag of each filter and choice that occurs, in the order of the menus."""
    tags: dict[tuple[str, str], str] = {}
    for key in FILTERS:
        found = {line.choices[key] for line in lines}
        known = _ORDERED.get(key, [])
        ordered = [name for name in known if name in found]
        ordered += sorted(found.difference(known), key=lambda name: (name.casefold(), name))
        tags |= {(key, name): f"{key}{number}" for number, name in enumerate(ordered)}
    return tags


def _tags_of(item: IndexLine, tags: Mapping[tuple[str, str], str]) -> str:
    picked = ["pick"] if item.line.kind == "pick" else []
    own = [tags[key, name] for key, name in item.choices.items()]
    return " ".join([*item.line.tags.split(), *picked, *own])
