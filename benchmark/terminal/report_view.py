"""Print a report on a terminal: the pick first, then the table, caveats and next commands."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from benchmark.report.analysis import Analysis
from benchmark.report.caveats import caveats
from benchmark.report.render import columns, table_cells
from benchmark.report.write import Report
from benchmark.terminal.output import print_table
from benchmark.text.printable import printable

DROP_FIRST = ("weights", "training time", "FLOPs", "macro-F1", "vs. best")
"""Columns of the main table to hide first on a narrow terminal."""
PICK = " (pick)"
"""Marks the pick in the table."""


def print_report(report: Report, console: Console, next_steps: str = "") -> None:
    """Print every comparison of a report, then follow-up commands."""
    for number, analysis in enumerate(report.analyses):
        print_pick(analysis, console)
        print_comparison(report, analysis, console, report.collection.not_started * (not number))
        print_section("slices", analysis, console, max_tables=1)
        for line in caveats(analysis):
            console.print(Text(f"- {printable(line)}"))
    if report.collection.elsewhere:
        others = printable("; ".join(report.collection.elsewhere))
        console.print(Text(f"Other protocol or data settings, not in this table: {others}"))
    if next_steps:
        console.print(Text(next_steps), style="dim")


def print_pick(analysis: Analysis, console: Console) -> None:
    """Print the pick, its runner-up, and what makes the choice uncertain."""
    pick = analysis.pick
    if pick is None:
        return
    console.print(Text(printable(pick.sentence)), style="bold")
    if pick.beside:
        console.print(Text(printable(pick.beside)))


def print_section(
    name: str, analysis: Analysis, console: Console, max_tables: int | None = None
) -> None:
    """Print one optional section of a report, with a limited number of tables; nothing if empty."""
    section = analysis.sections.get(name)
    if section is None:
        return
    for table in section.tables[:max_tables]:
        print_table(console, table.columns, table.rows, table.title)
        for note in table.notes:
            console.print(Text(printable(note)))
    console.print(Text(printable(section.lead)))


def print_comparison(
    report: Report, analysis: Analysis, console: Console, not_started: list[str] | None = None
) -> None:
    """Print the main table, with the pick marked; runs that have not started come last."""
    cells = table_cells(analysis, not_started or [])
    picked = set()
    for index, row in enumerate(analysis.rows):
        if analysis.pick is not None and row is analysis.pick.chosen and len(analysis.rows) > 1:
            cells[index][0] += PICK
            picked.add(index)
    title = f"{report.study.study}, on {analysis.comparison.specs[0].data_summary.title}"
    print_table(console, columns(analysis), cells, title, DROP_FIRST, picked)
