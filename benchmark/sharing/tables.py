"""Checks of untrusted tables, times and numbers."""

from __future__ import annotations

import datetime
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmark.errors import PackError
from clothclf.data.sources.parquet import ParquetFile

MAX_TABLE_BYTES = 2**30
"""Maximum size of a table when unpacked."""
MAX_TEXT_BYTES = 4000
"""Size of a text from which on it is neither an id, a label nor a hash."""


def require_table(
    path: Path, columns: Iterable[str], rows: int, optional: Iterable[str] = ()
) -> None:
    """Raise a UserError unless a table has these columns and rows, of a size that can be read."""
    file = ParquetFile(path)
    expected = [*columns]
    if sorted({*file.columns} - {*optional}) != sorted(expected) or len(file.columns) != len(
        {*file.columns}
    ):
        raise PackError(f"{path.name} has other columns than the run writes")
    if file.rows != rows:
        raise PackError(f"{path.name} has {file.rows:,} rows instead of {rows:,}")
    numbers = [name for name in file.columns if pa.types.is_primitive(file.type_of(name))]
    if file.unpacked_bytes() + 8 * rows * len(numbers) > MAX_TABLE_BYTES:
        raise PackError(f"{path.name} unpacks to too many bytes")
    for name in {*file.columns} - {*numbers}:
        # A dictionary holds a long text once, whereas the table has it in every row.
        if file.has_long_text(name, MAX_TEXT_BYTES):
            raise PackError(f"{path.name}: column {name[:80]!r} has a text that is too long")


def is_time(text: str) -> bool:
    """Whether a text is a time with a time zone in ISO 8601."""
    try:
        return datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def is_finite(value: Any) -> bool:
    """Whether all numbers in a value are finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(is_finite(item) for item in value.values())
    return not isinstance(value, (list, tuple)) or all(is_finite(item) for item in value)


def equal_tables(one: bytes, other: bytes) -> bool:
    """Whether two tables have the same content, whichever version of a library wrote them."""
    if one == other:
        return True
    try:
        tables = [pd.read_parquet(io.BytesIO(content)) for content in (one, other)]
    except (OSError, ValueError):
        return False
    ordered = [table.sort_values("id").reset_index(drop=True) for table in tables]
    return bool(ordered[0].equals(ordered[1]))
