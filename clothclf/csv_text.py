"""Write CSV text that spreadsheets display but never evaluate, and read its values back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile("'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n].", re.DOTALL)
"""Start of a cell that spreadsheets evaluate, with or without leading apostrophes."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a table as CSV; text that a spreadsheet would evaluate is `quoted`, None is empty."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(quoted(cell) if isinstance(cell, str) else cell for cell in row)
    return output.getvalue()


def frame_csv(frame: pd.DataFrame) -> str:
    """Format a data frame as CSV like `csv_text`, without its index."""
    rows = frame.itertuples(index=False, name=None)
    return csv_text([str(name) for name in frame.columns], rows)


def quoted(text: str) -> str:
    """Prefix text with an apostrophe if a spreadsheet would evaluate it; see `unquoted`."""
    return f"'{text}" if _is_run(text) else text


def unquoted(text: str) -> str:
    """Undo `quoted`."""
    return text[1:] if text.startswith("'") and _is_run(text[1:]) else text


def _is_run(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
