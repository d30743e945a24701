"""CSV text that a spreadsheet shows and never runs, and from which each value can be read back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile("'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n].", re.DOTALL)
"""How a cell begins that spreadsheets calculate, with quotes before it or not."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV; texts that a spreadsheet would run are `quoted`, None is empty."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(quoted(cell) if isinstance(cell, str) else cell for cell in row)
    return output.getvalue()


def frame_csv(frame: pd.DataFrame) -> str:
    """A frame of text as `csv_text` writes it, without its index."""
    rows = frame.itertuples(index=False, name=None)
    return csv_text([str(name) for name in frame.columns], rows)


def quoted(text: str) -> str:
    """A text with an apostrophe before it if a spreadsheet would run it; `unquoted` undoes this."""
    return f"'{text}" if _is_run(text) else text


def unquoted(text: str) -> str:
    """The text that `quoted` was given."""
    return text[1:] if text.startswith("'") and _is_run(text[1:]) else text


def _is_run(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
