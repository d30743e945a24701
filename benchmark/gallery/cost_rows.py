"""Read the table of `bench cost --all-timm` as untrusted input."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from clothclf.bounded_file import read_at_most
from clothclf.cost.catalogue import COLUMNS, OPTIONAL_COLUMNS, CatalogueRow
from clothclf.errors import CostError

MAX_BYTES = 16 * 2**20
MAX_ROWS = 10_000
MAX_TEXT = 4_000
"""Characters of a cell."""
SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?", re.ASCII)
"""Side of a square image in pixels, or height and width."""
FIELD = re.compile(
    r"(?:global \((?P<by>.+); )?(?:(?P<pixels>\d{1,9}) px|unknown)(?(by) without\))", re.ASCII
)
"""A receptive field, as `ReceptiveField` is written."""
VERDICTS = ("agreed", "explained", "disputed", "unchecked")
_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_COUNT = re.compile(r"\d{0,18}", re.ASCII)
_FORMATS = {
    "architecture": (_NAME, "is not the name of an architecture of timm"),
    "image_size": (re.compile(f"(?:{SIZE.pattern})?", re.ASCII), "is not a size such as 224"),
    "verdict": (re.compile("|".join(VERDICTS)), f"is none of {', '.join(VERDICTS)}"),
    "receptive_field": (
        re.compile(f"(?:{FIELD.pattern})?", re.ASCII),
        "is not a receptive field such as `427 px`",
    ),
    "family": (re.compile(r"\w{0,100}", re.ASCII), "is not the name of a module of timm"),
    "tags": (re.compile(r"[\w. -]*", re.ASCII), "are not tags, separated by spaces"),
}
_TEXTS = {"reason"}


def read_cost_rows(file: Path) -> list[CatalogueRow]:
    """Read all rows, sorted as in the file; raises CostError with file, line and column.

    Columns that files of earlier versions lack are empty.
    """
    rows: dict[str, CatalogueRow] = {}
    for line, cells in _lines(file):
        name = cells.get("architecture", "")
        for column, text in cells.items():
            _check(file, line, column, text)
        if name in rows:
            _refuse(file, line, "architecture", f"{name} is in an earlier line, too")
        rows[name] = CatalogueRow.from_cells(cells)
        if len(rows) > MAX_ROWS:
            raise CostError(f"{file}: has more than {MAX_ROWS:,} rows")
    if not rows:
        raise CostError(f"{file}: has no rows; write it with `bench cost --all-timm -o {file}`")
    return list(rows.values())


def _lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line with its cells by column."""
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        columns = next(reader, [])
        _require_columns(file, columns)
        for cells in reader:
            if len(cells) != len(columns):
                raise CostError(
                    f"{file}, line {reader.line_num}: has {len(cells)} cells instead of "
                    f"{len(columns)}; if the count was interrupted, run it again to complete it"
                )
            yield reader.line_num, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise CostError(f"{file}, line {reader.line_num}: is not CSV: {error}") from None


def _text(file: Path) -> str:
    try:
        content = read_at_most(file, MAX_BYTES + 1)
    except OSError as error:
        raise CostError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise CostError(f"{file}: is larger than {MAX_BYTES // 2**20} MiB; it is no cost table")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CostError(f"{file}, line {line}: is not UTF-8 text") from None


def _require_columns(file: Path, columns: list[str]) -> None:
    unknown = [name for name in columns if name not in COLUMNS]
    lacking = [name for name in COLUMNS if name not in OPTIONAL_COLUMNS and name not in columns]
    if unknown or lacking or len(set(columns)) != len(columns):
        wrong = (
            f"column {unknown[0][:40]!r} is unknown"
            if unknown
            else f"column {lacking[0]} is missing"
            if lacking
            else "a column occurs twice"
        )
        raise CostError(f"{file}: is not a table of `bench cost --all-timm -o FILE.csv`: {wrong}")


def _check(file: Path, line: int, column: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        _refuse(file, line, column, f"is longer than {MAX_TEXT:,} characters")
    if column not in _TEXTS:
        pattern, problem = _FORMATS.get(column, (_COUNT, "is not a whole number"))
        if not pattern.fullmatch(text):
            _refuse(file, line, column, f"{text[:40]!r} {problem}")


def _refuse(file: Path, line: int, column: str, problem: str) -> NoReturn:
    raise CostError(f"{file}, line {line}, column {column}: {problem}; count it again")
