"""The page of all architectures' counted costs, from the table of `bench cost --all-timm`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.gallery.cost_rows import FIELD, SIZE, VERDICTS, read_cost_rows
from benchmark.report.page.document import PAGE, joined, render_page
from benchmark.report.page.figures import typeset
from benchmark.report.page.tables import Cell, Line, Table
from benchmark.text.numbers import COUNTERS_AGREE_WITHIN, DEPLOYED, deployed_mark
from clothclf.cost.catalogue import COLUMNS, CatalogueRow
from clothclf.cost.counters.registry import COMPARED
from clothclf.csv_text import csv_text

HERE = Path(__file__).parent
ARCHITECTURES_PAGE = "architectures.html"
COSTS_FILE = "architectures.csv"
SCRIPTS = (PAGE / "elements.js", PAGE / "tables.js", HERE / "architectures.js")
TEXT_COLUMNS = ("architecture", "verdict", "family")
TITLES = (
    "architecture",
    "parameters (M)",
    "MACs (G)",
    "px",
    "receptive field (px)",
    "activations (M)",
    *COMPARED,
    "verdict",
    "family",
)
"""Columns of the table. Everything else is in the record of a row."""
WIDTH, HEIGHT = 440, 250
"""Size of the chart's view box."""
LEFT, RIGHT, TOP, BOTTOM = 50, 24, 28, 40
"""Margins of the chart."""


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of the chart."""

    title: str
    low: int
    """Power of ten at its start."""
    high: int
    start: int
    """Place of its start in the view box."""
    end: int

    def place(self, value: int) -> float:
        """Place of a value in the view box."""
        share = (math.log10(max(value, 1)) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, unit: int) -> list[tuple[float, str]]:
        """Places and texts of the powers of ten, in the unit."""
        powers = range(self.low, self.high + 1)
        return [(self.place(10**power), f"{10**power / unit:g}") for power in powers]


@dataclass(frozen=True)
class Scatter:
    """Parameters and MACs of all counted architectures."""

    across: Axis
    up: Axis
    spots: dict[str, tuple[float, float]]
    """Place of each architecture in the view box."""

    @property
    def path(self) -> str:
        """Path of lines without length, whose round ends are the dots."""
        return "".join(f"M{x:g} {y:g}h0" for x, y in self.spots.values())


def write_architectures_page(costs_csv: Path, site: Path) -> int:
    """Write the page and the table it shows into the folder `site`; return the number of rows.

    Raises CostError with file, line and column if the table cannot be read.
    """
    rows = read_cost_rows(costs_csv)
    site.mkdir(parents=True, exist_ok=True)
    cells = ([row.cells()[name] for name in COLUMNS] for row in rows)
    (site / COSTS_FILE).write_text(csv_text(COLUMNS, cells), "utf-8")
    (site / ARCHITECTURES_PAGE).write_text(render(rows), "utf-8")
    return len(rows)


def render(rows: Sequence[CatalogueRow]) -> str:
    """Render the page, which needs no other file but `COSTS_FILE` as a download."""
    drawn = scatter(rows)
    values = {
        "table": Table(
            "Architectures",
            TITLES,
            tuple(line(row) for row in rows),
            frozenset(map(TITLES.index, TEXT_COLUMNS)),
        ),
        "families": sorted(Counter(row.family for row in rows if row.family).items()),
        "verdicts": [
            (verdict, sum(row.verdict == verdict for row in rows)) for verdict in VERDICTS
        ],
        "counted": sum(bool(row.macs) for row in rows),
        "has_tags": any(row.tags for row in rows),
        "deployed": sum(bool(row.training_macs) for row in rows) and DEPLOYED.strip(),
        "scatter": drawn,
        "view": {"width": WIDTH, "height": HEIGHT},
        "costs_file": COSTS_FILE,
    }
    data = {
        "columns": COLUMNS,
        "rows": [list(row.cells().values()) for row in rows],
        "spots": drawn.spots if drawn else {},
    }
    return render_page(HERE / "architectures.html", values, [joined(*SCRIPTS)], data)


def line(row: CatalogueRow) -> Line:
    """Row of the table; its name and its numbers link to its record."""
    cells = (
        Cell(row.architecture, row.architecture),
        _count(row.params, 1e6, 2, deployed_mark(*_numbers(row.params, row.training_params))),
        _count(row.macs, 1e9, 3, deployed_mark(*_numbers(row.macs, row.training_macs))),
        _size(row.image_size),
        _receptive_field(row.receptive_field),
        _count(row.activations, 1e6, 2),
        *(_deviation(row, name) for name in COMPARED),
        Cell(row.verdict or "–", row.verdict or None),
        Cell(row.family or "–", row.family or None),
    )
    place = f"#{row.architecture}"
    linked = TITLES.index("verdict") + 1
    return Line((
        *(
            Cell(cell.text, cell.value, cell.note, link=place) if cell.text != "–" else cell
            for cell in cells[:linked]
        ),
        *cells[linked:],
    ))  # fmt: skip


def _numbers(*texts: str) -> tuple[int | None, ...]:
    return tuple(int(text) if text else None for text in texts)


def _count(text: str, unit: float, digits: int, mark: str = "") -> Cell:
    if not text:
        return Cell("–")
    return Cell(f"{int(text) / unit:,.{digits}f}", int(text), mark.strip())


def _size(text: str) -> Cell:
    """Cell of an image size, sorted by its longer side, which limits compare."""
    match = SIZE.fullmatch(text)
    return Cell(text, max(int(side) for side in match.groups() if side)) if match else Cell("–")


def _receptive_field(text: str) -> Cell:
    match = FIELD.fullmatch(text)
    if match is None:
        return Cell("–")
    note = "global" if match["by"] else ""
    if match["pixels"] is None:
        return Cell("unknown", None, note)
    return Cell(f"{int(match['pixels']):,}", int(match["pixels"]), note)


def _deviation(row: CatalogueRow, counter: str) -> Cell:
    """Cell of a counter's deviation from the headline, which it counts in the training form."""
    counted, headline = _numbers(row.macs_by_counter[counter], row.training_macs or row.macs)
    if counted is None or not headline:
        return Cell("–")
    share = counted / headline - 1
    mark = "(!)" if abs(share) > COUNTERS_AGREE_WITHIN else ""
    return Cell(typeset(f"{100 * share:+.1f} %"), round(share, 6), mark)


def scatter(rows: Iterable[CatalogueRow]) -> Scatter | None:
    """Place all counted architectures on logarithmic axes; None without one."""
    counted = {
        row.architecture: (int(row.params), int(row.macs))
        for row in rows
        if row.params and row.macs
    }
    if not counted:
        return None
    params, macs = zip(*counted.values(), strict=True)
    across = _axis("parameters (M)", params, LEFT, WIDTH - RIGHT)
    up = _axis("MACs (G)", macs, HEIGHT - BOTTOM, TOP)
    spots = {name: (across.place(x), up.place(y)) for name, (x, y) in counted.items()}
    return Scatter(across, up, spots)


def _axis(title: str, values: Sequence[int], start: int, end: int) -> Axis:
    logs = [math.log10(max(value, 1)) for value in values]
    low = math.floor(min(logs))
    return Axis(title, low, max(math.ceil(max(logs)), low + 1), start, end)
