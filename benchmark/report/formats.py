"""Registry of report formats. Does not import them.

To add a format, write `report/NAME.py` with a function `render_NAME` that returns the text of a
report, and add one entry to `FORMATS`. `bench report --format` and the suffix of `-o` then have it,
and MLflow if the entry says so.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True)
class ReportFormat:
    """One format of reports."""

    name: str
    suffix: str
    """Suffix of files by which `-o` chooses the format."""
    module: str
    logged: bool = True
    """Whether MLflow gets the report in this format, as `report` with the suffix."""
    takes: tuple[str, ...] = ()
    """Options of the function: `images`, whether to include thumbnails, and `command`, which makes
    the report again."""

    def load(self) -> Callable[..., str]:
        """Import and return the function that renders study, collection and analyses as text."""
        render = getattr(importlib.import_module(self.module), f"render_{self.name}")
        return cast("Callable[..., str]", render)


FORMATS = {
    item.name: item
    for item in (
        ReportFormat("md", ".md", "benchmark.report.markdown"),
        ReportFormat("csv", ".csv", "benchmark.report.data_formats"),
        ReportFormat("json", ".json", "benchmark.report.data_formats"),
        ReportFormat("latex", ".tex", "benchmark.report.latex", logged=False),
        ReportFormat("html", ".html", "benchmark.report.page.html", takes=("images", "command")),
    )
}
