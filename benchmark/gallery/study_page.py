"""The pages of one study in a gallery: its report, its records, and its lines in the index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.gallery.studies import PackedStudy, unpack
from benchmark.report.analysis import Analysis, analyse
from benchmark.report.collect import Collection, Comparison
from benchmark.report.data_formats import render_json
from benchmark.report.measured import device_text
from benchmark.report.page import tables as html_tables
from benchmark.report.page.figures import decimals
from benchmark.report.page.html import Site, render_html
from benchmark.report.page.tables import Cell, Line, Table
from benchmark.report.rows import Row
from benchmark.runs.record import RunRecord
from benchmark.sharing.merge import Merged
from clothclf.data.atomic import without_sync
from clothclf.errors import UserError, first_line
from clothclf.results import DataSummary

COLUMNS = (
    "architecture",
    "study",
    "accuracy (%)",
    "vs. best",
    "MACs",
    "parameters",
    "latency",
    "training",
)
MAX_TITLE = 80
"""Characters of the title of the data in the index."""
CLASSES = ((2, "2"), (10, "3 to 10"), (100, "11 to 100"), (10**9, "more than 100"))
IMAGES = (
    (999, "fewer than 1,000"),
    (9_999, "1,000 to 9,999"),
    (99_999, "10,000 to 99,999"),
    (10**12, "100,000 or more"),
)
"""Upper bounds and names of the choices of a filter."""
REPORT = "index.html"
HOME, ASSETS = "../../index.html", "../../assets"
"""Paths from the folder of a study."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class IndexLine:
    """One architecture of a study in the index."""

    line: Line
    choices: dict[str, str]
    """Value of each filter, by its key in `index_page.FILTERS`."""


@dataclass
class StudyPages:
    """What was written for one study."""

    lines: list[IndexLine] = field(default_factory=list)
    """Most accurate first."""
    runs: int = 0
    conflicts: list[str] = field(default_factory=list)
    error: str = ""
    """Why nothing was written, in one sentence; empty if the study has its pages."""


def write_study(study: PackedStudy, site: Path) -> StudyPages:
    """Write the report and the records of a study below the folder `site`.

    A pack whose figures are right may still have what no report can show; then nothing is written.
    """
    pages = StudyPages()
    folder = site / "studies" / study.folder
    try:
        with tempfile.TemporaryDirectory() as place, without_sync():
            _write(study, Path(place), folder, pages)
    except UserError as error:
        pages.error = str(error)
    except Exception as error:  # of a record that no run of bench would write
        packs = ", ".join(str(part.path) for part in study.parts)
        pages.error = (
            f"{packs}: study {study.name} has values that no report can show: "
            f"{type(error).__name__}: {first_line(error)[:200]}"
        )
    return pages


def _write(study: PackedStudy, root: Path, folder: Path, pages: StudyPages) -> None:
    merged = Merged()
    runs = unpack(study, root, merged)
    comparison = Comparison([run.record for run in runs], [], [])
    analysis = analyse(comparison, root)
    collection = Collection([comparison], [], [])
    settings = StudySettings.model_validate(
        {"study": study.name, "architectures": [comparison.records[0].spec.architecture]}
    )
    page = render_html(
        settings,
        collection,
        [analysis],
        images=False,
        site=Site(HOME, ASSETS, record_table(analysis)),
    )
    written = {
        REPORT: page,
        "report.json": render_json(settings, collection, [analysis]),
        **{record_link(run.record): run.text for run in runs},
    }
    pages.lines = list(_lines(analysis, study.folder))
    pages.runs, pages.conflicts = len(runs), merged.conflicts
    (folder / "records").mkdir(parents=True)
    for name, text in written.items():
        (folder / name).write_text(text, "utf-8")


def record_table(analysis: Analysis) -> Table:
    """Table of all runs, with unrounded figures and links to their records."""
    lines = [
        Line(
            (
                Cell(record.spec.name, record.spec.name.casefold()),
                _plain(100 * record.test.accuracy, 4),
                _plain(record.cost.macs if record.cost else None),
                _plain(record.cost.params if record.cost else None),
                _plain(record.measured.latency_ms_median if record.measured else None, 4),
                Cell(device(record), device(record).casefold()),
                Cell(record.run_id, record.run_id, link=record_link(record)),
            )
        )
        for row in analysis.rows
        for record in row.records
    ]
    columns = ("run", "accuracy (%)", "MACs", "parameters", "latency (ms)", "device", "record")
    return Table("Records", columns, tuple(lines), frozenset({0, 5, 6}))


def device(record: RunRecord) -> str:
    """Device that a run was measured on, with the processor and threads of a CPU."""
    if record.measured is None:
        return NOT_MEASURED
    if record.measured.device != "cpu":
        return record.measured.device
    named = replace(record.measured, device=f"cpu {record.environment.processor}")
    return device_text(named)


def record_link(record: RunRecord) -> str:
    """Link from the report of a study to the record of a run."""
    return f"records/{record.run_id}.json"


def _plain(value: float | None, digits: int = 0) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,.{digits}f}", value)


def _lines(analysis: Analysis, folder: str) -> Iterator[IndexLine]:
    """Yield the lines of the index, with the cells of the report's main table."""
    table = html_tables.main_table(analysis, [], decimals(analysis))
    summary = analysis.comparison.specs[0].data_summary
    for place, (row, line) in enumerate(zip(analysis.rows, table.lines, strict=True)):
        cells = dict(zip(table.columns, line.cells, strict=True))
        measured = _measured_record(row)
        links = _links(row, place, measured)
        own = {
            "study": _study_cell(analysis, summary),
            "accuracy (%)": replace(cells["accuracy (%)"], dot=None),
            "latency": replace(cells["latency"], note=_latency_note(cells["latency"], measured)),
            "training": Cell(row.mode, row.mode, f"{row.image_size} px, {_seeds(row)}"),
        }
        shown = ((title, own.get(title) or cells[title]) for title in COLUMNS)
        below = f"studies/{folder}/"
        linked = tuple(
            replace(cell, link=below + links[title])
            if title in links and cell.text != "–"
            else cell
            for title, cell in shown
        )
        choices = {
            "data": summary.title[:MAX_TITLE],
            "architecture": row.architecture,
            "training": row.mode,
            "classes": _bucket(len(summary.classes), CLASSES),
            "images": _bucket(summary.images["train"], IMAGES),
            "device": device(measured) if measured else NOT_MEASURED,
        }
        yield IndexLine(replace(line, cells=linked), choices)


def _links(row: Row, place: int, measured: RunRecord | None) -> dict[str, str]:
    """Link of each column, from the study's folder: a record where one holds the number."""
    first = record_link(row.records[0])
    return {
        "architecture": f"{REPORT}#row-0-{place}",
        "study": REPORT,
        "accuracy (%)": first if len(row.records) == 1 else f"{REPORT}#records-0",
        "vs. best": f"{REPORT}#row-0-{place}",
        "MACs": first,
        "parameters": first,
        "latency": record_link(measured) if measured else REPORT,
    }


def _measured_record(row: Row) -> RunRecord | None:
    """Return the record that has the row's latency."""
    if row.measured is None:
        return None
    same = (row.measured.latency_ms, row.measured.busy)
    return next(
        record
        for record in row.records
        if record.measured and (record.measured.latency_ms, record.measured.busy) == same
    )


def _latency_note(cell: Cell, measured: RunRecord | None) -> str:
    return "" if measured is None else ", ".join(filter(None, (cell.note, device(measured))))


def _study_cell(analysis: Analysis, summary: DataSummary) -> Cell:
    name = analysis.comparison.specs[0].study
    title = summary.title[:MAX_TITLE]
    images = f"{summary.images['train']:,} training images"
    return Cell(name, name.casefold(), f"{title} · {len(summary.classes)} classes · {images}")


def _seeds(row: Row) -> str:
    return "1 seed" if len(row.seeds) == 1 else f"{len(row.seeds)} seeds"


def _bucket(value: int, bounds: tuple[tuple[int, str], ...]) -> str:
    return next(name for most, name in bounds if value <= most)
