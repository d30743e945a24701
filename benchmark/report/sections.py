"""Registry of the sections that a report has only if something was measured. Does not import them.

To add a section, write `report/NAME.py` with a function `section` that returns a `Section`, or None
if there is nothing to show, and add one entry to `OPTIONAL_SECTIONS`. Markdown, HTML and JSON then
show it, and its charts are among the report's plots. With a function `flat` that returns unrounded
values of one row, CSV and JSON also have them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis
    from benchmark.report.charts.style import Colours

Group = Literal["Result", "Evidence", "Costs"]


@dataclass(frozen=True)
class SectionTable:
    """One table of a section; the first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Sentences below the table."""
    links: Sequence[str] = ()
    """Names of the sections that the last cells of the rows link to; empty without links."""


@dataclass(frozen=True)
class SectionChart:
    """One chart of a section."""

    name: str
    """Name of its files, and of its place on the page."""
    title: str
    caption: str
    """How to read it, as the end of a sentence."""
    module: str
    """Module of the chart, with a function `draw`."""

    def draw(self, analysis: Analysis, colours: Colours, key_columns: int | None = None) -> Any:
        """Draw it with Altair; `key_columns` is the number of columns of its legend."""
        return importlib.import_module(self.module).draw(analysis, colours, key_columns)


@dataclass(frozen=True)
class Section:
    """Content of one section, the same for all formats."""

    lead: str = ""
    """Sentences that answer the section's question."""
    tables: Sequence[SectionTable] = ()
    charts: Sequence[SectionChart] = ()
    for_papers: bool = False
    """Whether LaTeX also has its tables, which are narrow enough then."""
    values: object = None
    """Unrounded values for JSON; None if the rows have them all."""


@dataclass(frozen=True)
class SectionEntry:
    """Where the report finds one section."""

    name: str
    """Anchor on the page, and key in JSON."""
    title: str
    group: Group
    module: str

    def load(self) -> ModuleType:
        """Import the module of the section."""
        return importlib.import_module(self.module)


OPTIONAL_SECTIONS = {
    item.name: item
    for item in (
        SectionEntry("next_steps", "What to do next", "Result", "benchmark.report.next_steps"),
        SectionEntry(
            "suspects", "Without suspected label errors", "Evidence", "benchmark.report.suspects"
        ),
        SectionEntry(
            "corrections",
            "Accuracy before and after the corrections",
            "Evidence",
            "benchmark.report.corrected_labels",
        ),
        SectionEntry("slices", "Results by slice", "Evidence", "benchmark.report.slice_text"),
        SectionEntry("tuning", "Tuning", "Evidence", "benchmark.report.tuned_settings"),
        SectionEntry(
            "training_images",
            "Number of training images",
            "Evidence",
            "benchmark.report.learning_curves",
        ),
        SectionEntry("stress", "Robustness to corruptions", "Evidence", "benchmark.report.stress"),
        SectionEntry("deployed", "Deployed variants", "Costs", "benchmark.report.deployed"),
    )
}


def _titles(group: Group) -> dict[str, str]:
    return {name: entry.title for name, entry in OPTIONAL_SECTIONS.items() if entry.group == group}


SECTIONS = {
    "Result": {
        "pick": "The pick",
        "table": "Architectures",
        "cost": "Accuracy vs. cost",
        **_titles("Result"),
    },
    "Evidence": {
        "mistakes": "Mistakes",
        "classes": "Results by class",
        "pairs": "Pairwise comparisons",
        "seeds": "Variation between seeds",
        "curves": "Learning curves",
        **_titles("Evidence"),
    },
    "Costs": {
        "counters": "Costs by counter",
        **_titles("Costs"),
        "measured": "Measured cost",
    },
    "Conditions": {
        "data": "Data and protocol",
        "fairness": "Fairness",
        "environment": "Environment",
    },
}
"""Titles of all sections by name, in the order of the page."""
TITLES = {name: title for titles in SECTIONS.values() for name, title in titles.items()}


def sections(
    analysis: Analysis, group: Group | None = None
) -> Iterator[tuple[SectionEntry, Section]]:
    """Iterate over the sections of a comparison that have content, of one group or of all."""
    for name, section in analysis.sections.items():
        entry = OPTIONAL_SECTIONS[name]
        if group in (None, entry.group):
            yield entry, section


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Unrounded values of one row from all sections."""
    values: dict[str, object] = {}
    for entry in OPTIONAL_SECTIONS.values():
        values |= getattr(entry.load(), "flat", _nothing)(analysis, index)
    return values


def _nothing(_: Analysis, __: int) -> dict[str, object]:
    return {}
