"""Read CSV tables as text, even malformed ones, and report each repair."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from clothclf.data.sources.listing import Finding, is_one_line, no_column
from clothclf.errors import DataError

UNQUOTED_COMMA = "unquoted comma in the row"
SHORT_ROW = "row with too few columns"
LINE_BREAK = "line break inside quotes"
STRAY_QUOTE = "unclosed quote"
NOT_UTF8 = "text is not UTF-8"
NUL = "NUL characters removed"

MAX_COLUMNS = 1000
MAX_LINES = 3_000_000
MAX_CELLS = 30_000_000
"""Maximum columns times lines: short rows are padded, and take memory for every column."""


@dataclass(frozen=True)
class Table:
    """CSV table as text; all rows are as long as `columns`."""

    where: str
    """File name for messages."""
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """Line number at which each row ends, from 1."""
    findings: list[Finding] = field(default_factory=list)

    def column(self, name: str) -> int:
        """Return the index of a column; raises DataError if it is missing or not unique."""
        indices = [index for index, column in enumerate(self.columns) if column == name]
        if not indices:
            raise no_column(self.where, name, self.columns)
        if len(indices) > 1:
            raise DataError(
                f"{self.where}: has {len(indices)} columns {name!r}; rename all but one"
            )
        return indices[0]

    def values(self, name: str) -> list[str]:
        """Return a column's stripped text, row by row; raises DataError as `column`."""
        index = self.column(name)
        return [row[index].strip() for row in self.rows]


def read_table(content: bytes, where: str, key: str | Callable[[Sequence[str]], str]) -> Table:
    """Read a CSV table with a header; findings identify rows by column `key`.

    `key` may be a function that selects that column from the header's names. Raises DataError if
    there is no text header, no column `key`, or an unterminated field.
    """
    text = _decode(content)
    _refuse_bombs(text, where)
    lines = _with_header_in_one(list(io.StringIO(text.replace("\0", ""), newline="")))
    header = [name.strip() for name in _parse_line(lines[0])] if lines else []
    if not any(header):
        raise DataError(f"{where}: is empty; expected a first line with column names")
    if not all(is_one_line(name) and "\ufffd" not in name for name in header):
        raise DataError(
            f"{where}: is not a CSV table: its first line is not plain text; save it as UTF-8"
        )
    if len(header) == 1 and (mark := next((m for m in ";\t|" if m in header[0]), "")):
        raise DataError(f"{where}: its columns are separated by {mark!r}; save it with commas")
    table = Table(where, header)
    index = table.column(key if isinstance(key, str) else key(header))
    if "\0" in text:
        table.findings.append(Finding("repaired", NUL, "", f"{text.count(chr(0))} in the file"))
    for number, fields in _rows(lines, table, index):
        table.rows.append(_repair(fields, len(header), index, table.findings))
        table.lines.append(number)
    return table


def _refuse_bombs(text: str, where: str) -> None:
    """Raise DataError for a table that is kilobytes in a zip archive but gigabytes in memory."""
    lines = max(text.count("\n"), text.count("\r")) + 1
    ends = [index for mark in "\r\n" if (index := text.find(mark)) >= 0]
    columns = text.count(",", 0, min(ends, default=len(text))) + 1
    if columns > MAX_COLUMNS or lines > MAX_LINES or columns * lines > MAX_CELLS:
        raise DataError(
            f"{where}: is too large a table: {columns:,} columns and {lines:,} lines; at most "
            f"{MAX_COLUMNS:,}, {MAX_LINES:,} and {MAX_CELLS:,} cells are supported"
        )


def _rows(lines: list[str], table: Table, index: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each row below the header with the number of its last line; skip blank lines."""
    reader = csv.reader(iter(lines[1:]))
    while (start := reader.line_num) < len(lines) - 1:
        fields, reason = [], ""
        try:
            fields = next(reader)
        except csv.Error as error:
            reason = str(error)
        first, last = start + 1, reader.line_num
        width, some = len(table.columns), lines[first : last + 1]
        if last > first and not _is_standard(some, width) and _are_rows(some[1:], width, index):
            parsed = [_parse_line(line) for line in some]
            key = as_written(parsed[0][index][:100]) if index < len(parsed[0]) else ""
            detail = f"{last - first} lines after it parsed separately"
            table.findings.append(Finding("repaired", STRAY_QUOTE, key, detail))
            yield from ((n, each) for n, each in enumerate(parsed, first + 1) if each)
        elif reason:
            raise DataError(
                f"{table.where}, line {first + 1}: is not readable as CSV: {reason}; look for an "
                "unclosed quote"
            )
        elif fields:
            yield last + 1, fields


def _with_header_in_one(lines: list[str]) -> list[str]:
    """Return the lines of a table with a multi-line quoted header joined to one line."""
    reader = csv.reader(iter(lines), strict=True)
    try:
        names = next(reader, [])
    except csv.Error:
        return lines
    count = reader.line_num
    if count < 2 or len(names) > MAX_COLUMNS or len(names) * len(lines) > MAX_CELLS:
        return lines
    header = io.StringIO()
    csv.writer(header).writerow(" ".join(name.split()) for name in names)
    # Blank lines are skipped later, and preserve the line numbers of the rows below.
    return [header.getvalue(), *["\n"] * (count - 1), *lines[count:]]


def _is_standard(lines: list[str], width: int) -> bool:
    """Whether lines are one valid RFC 4180 row, whose quoted line breaks are intended."""
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error:
        return False
    return len(rows) == 1 and len(rows[0]) == width


def _are_rows(lines: list[str], width: int, index: int) -> bool:
    """Whether most lines inside quotes are rows, which an unterminated quote swallowed."""
    parsed = [_parse_line(line) for line in lines if line.strip()]
    rows = [fields for fields in parsed if len(fields) >= width and fields[index].strip()]
    return 2 * len(rows) > len(parsed)


def _parse_line(line: str) -> list[str]:
    """Parse one line on its own, without open quotes from before and without a length limit."""
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return line.split(",")


def _decode(content: bytes) -> str:
    """Decode a file; bytes that are not UTF-8 become surrogates, for `as_written`."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = content.decode("utf-16", errors="surrogatepass")
        except UnicodeDecodeError:  # truncated
            text = content.decode("utf-16", errors="replace")
        # Lone surrogates become a control character, which is not allowed in labels.
        return _MARKED.sub("\x1a", text)
    return content.decode("utf-8-sig", errors="surrogateescape")


def as_written(text: str) -> str:
    """Decode surrogates from `_decode` as Windows-1252 or, failing that, Latin-1.

    Different bytes always give different text.
    """
    if not _MARKED.search(text):
        return text
    content = text.encode("utf-8", errors="surrogateescape")
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


_MARKED = re.compile("[\ud800-\udfff]")


def _repair(fields: list[str], width: int, index: int, findings: list[Finding]) -> list[str]:
    """Pad or join a row to the header's width, and record its repairs."""
    is_utf8 = _MARKED.search("".join(fields)) is None
    if not is_utf8:
        fields = [as_written(field) for field in fields]
    key = fields[index].strip()[:100] if index < len(fields) else ""
    if len(fields) > width:
        # The last column is free text, so surplus fields belong to it.
        fields = [*fields[: width - 1], ",".join(fields[width - 1 :])]
        findings.append(Finding("repaired", UNQUOTED_COMMA, key, fields[-1][:200]))
    elif len(fields) < width:
        findings.append(Finding("repaired", SHORT_ROW, key, f"{len(fields)} of {width}"))
        fields = fields + [""] * (width - len(fields))
    text = "".join(fields)
    if "\n" in text or "\r" in text:
        breaks = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1
        # Report line breaks: an unbalanced quote may have swallowed the rows after it.
        findings.append(Finding("repaired", LINE_BREAK, key, f"{breaks} line breaks"))
    if not is_utf8:
        findings.append(Finding("repaired", NOT_UTF8, key, "read as Windows-1252"))
    return fields
