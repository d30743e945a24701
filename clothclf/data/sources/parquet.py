"""Read a parquet file with bounded memory: columns as text, and binary cells one by one.

Page headers give the unpacked size before anything is unpacked; files that would exhaust memory
are refused.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clothclf.data.sources.listing import MAX_IMAGE_BYTES, as_text, no_column
from clothclf.data.sources.parquet_pages import (
    DELTA_BYTE_ARRAY,
    LayoutError,
    Page,
    pages,
    read_footer,
)
from clothclf.errors import DataError, first_line

MAX_ROWS = 3_000_000
MAX_COLUMNS = 1000
MAX_TEXT_BYTES = 2**29
"""Maximum unpacked size of a column of text or numbers."""
MAX_PAGE_BYTES = 2**29
"""Maximum unpacked size of a page of images: a hundred photographs of 5 MB."""
MAX_GROWTH = 100
"""Maximum ratio of the unpacked size of an image column to the file size. Images are compressed
already, so a larger ratio is a decompression bomb, unless it unpacks to at most `SMALL_BYTES`."""
SMALL_BYTES = 2**28

_CELL_CHARACTERS = 1000
_BUFFER_BYTES = 2**20
_AT_ONCE_BYTES = 2**26
_WINDOW_BYTES = 2**27
_ROWS_AT_ONCE = 64


class ParquetFile:
    """Untrusted parquet file. Reading is thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the footer; raises DataError if it is not parquet, truncated or too large."""
        self.path = path
        with self._as_data_errors():
            with path.open("rb") as content:
                self._groups = read_footer(content)
            self.group_rows: Sequence[int] = [group.rows for group in self._groups]
            self.rows = sum(self.group_rows)
            self._require_few(0)
            with pq.ParquetFile(path) as file:
                self._schema, self._footer = file.schema_arrow, file.metadata
        self.columns: list[str] = self._schema.names
        self._require_few(len(self.columns))
        self._lock = threading.Lock()
        self._windows: OrderedDict[tuple[str, int], _Window] = OrderedDict()
        self._rows_at_once: dict[str, int] = {}

    def _require_few(self, columns: int) -> None:
        if columns > MAX_COLUMNS or self.rows > MAX_ROWS:
            raise DataError(
                f"{self.path}: is too large a table: {columns:,} columns and {self.rows:,} rows; "
                f"at most {MAX_COLUMNS:,} and {MAX_ROWS:,} are supported"
            )

    @cached_property
    def features(self) -> dict[str, dict[str, Any]]:
        """Column features in the footer, as written by the `datasets` library; empty without it."""
        try:
            info = json.loads((self._schema.metadata or {})[b"huggingface"])
            by_column = info["info"]["features"].items()
            return {str(name): value for name, value in by_column if isinstance(value, dict)}
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            return {}

    def type_of(self, column: str) -> pa.DataType:
        """Return the Arrow type of a column; raises DataError if it is missing or not unique."""
        count = self.columns.count(column)
        if count == 0:
            raise no_column(str(self.path), column, self.columns)
        if count > 1:
            raise DataError(f"{self.path}: has {count} columns {column!r}; rename all but one")
        return self._schema.field(column).type

    def text_columns(self) -> list[str]:
        """Return the columns that `texts` can read."""
        return [field.name for field in self._schema if _is_plain(_value_type(field.type))]

    def texts(self, column: str) -> list[str]:
        """Return a column as text, row by row; raises DataError if it is not text or numbers."""
        kind = self.type_of(column)
        if not _is_plain(_value_type(kind)):
            raise DataError(
                f"{self.path}: column {column!r} holds {str(kind)[:60]}, not text or numbers; "
                f"its columns are: {', '.join(name[:40] for name in self.columns[:20])}"
            )
        with self._as_data_errors():
            texts = [text for chunk in self._chunks(column) for text in _chunk_texts(chunk)]
        if len(texts) != self.rows:
            raise DataError(f"{self.path}: is damaged: column {column!r} lacks rows")
        return texts

    def has_long_text(self, column: str, size: int) -> bool:
        """Return whether a column has a text of at least `size` UTF-8 bytes.

        Raises DataError if it is not text.
        """
        if not _is_text(_value_type(self.type_of(column))):
            raise DataError(f"{self.path}: column {column[:80]!r} is not text")
        # No text is longer than its page, or than the page of its dictionary.
        if max((page.unpacked_bytes for page in self._pages(column)), default=0) < size:
            return False
        with self._as_data_errors():
            for chunk in self._chunks(column):
                values = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
                most = pc.max(pc.binary_length(values.cast(pa.large_binary()))).as_py()
                if (most or 0) >= size:
                    return True
        return False

    def _chunks(self, column: str) -> Iterator[pa.Array]:
        """Iterate over the arrays of a plain column; raises DataError if it is too large."""
        unpacked = sum(page.unpacked_bytes for page in self._pages(column))
        if unpacked > MAX_TEXT_BYTES:
            raise self._bomb(column, unpacked, MAX_TEXT_BYTES)
        # A dictionary stores a value shared by a million rows once.
        shared = [column] if _is_text(self.type_of(column)) else []
        with self._as_data_errors(), self._open(shared) as file:
            for group in range(len(self.group_rows)):
                table = file.read_row_group(group, columns=[column], use_threads=False)
                yield from table.column(column).chunks

    def unpacked_bytes(self) -> int:
        """Return the size of all columns when unpacked, by the headers of their pages.

        Raises DataError if these are damaged, or values repeat prefixes of others.
        """
        return sum(page.unpacked_bytes for name in self.columns for page in self._pages(name))

    def prepare_bytes(self, leaf: str) -> None:
        """Check the sizes of a binary column before reading it; `leaf` is its path (`image.bytes`).

        Raises DataError if reading it would exhaust memory.
        """
        whole = largest = 0
        for page in self._pages(leaf):
            whole += page.unpacked_bytes
            largest = max(largest, page.unpacked_bytes)
        if largest > MAX_PAGE_BYTES:
            raise self._bomb(leaf, largest, MAX_PAGE_BYTES)
        if whole > max(SMALL_BYTES, MAX_GROWTH * self.path.stat().st_size):
            raise DataError(
                f"{self.path}: column {leaf!r} decompresses to {_mebibytes(whole)}, more than "
                f"{MAX_GROWTH} times the file, which is implausible for images"
            )
        # No cell is larger than its page, or than the page of its dictionary.
        self._rows_at_once[leaf] = max(1, min(_ROWS_AT_ONCE, _AT_ONCE_BYTES // max(1, largest)))

    def read_bytes(self, leaf: str, group: int, row: int) -> bytes:
        """Return the cell of one row of a row group; raises DataError if it is empty or too large.

        Fast if rows are read approximately in order.
        """
        with self._lock:
            window = self._windows.pop((leaf, group), None)
            if window is None or row < window.first:
                window = _Window(self._batches(leaf, group))
            with self._as_data_errors():
                content = window.cell(row)
            self._windows[leaf, group] = window
            while len(self._windows) > 2:  # some threads may still read the previous row group
                self._windows.popitem(last=False)
        if content is None:
            raise DataError("the cell is empty")
        if len(content) > MAX_IMAGE_BYTES:
            raise DataError(f"is larger than {MAX_IMAGE_BYTES / 2**20:g} MiB")
        return content

    def close_readers(self) -> None:
        """Close all open readers of binary columns."""
        with self._lock:
            self._windows.clear()

    def _batches(self, leaf: str, group: int) -> Iterator[pa.Array]:
        with self._open([]) as file:
            for batch in file.iter_batches(
                self._rows_at_once[leaf], row_groups=[group], columns=[leaf], use_threads=False
            ):
                cells = batch.column(0)
                yield cells.flatten()[0] if pa.types.is_struct(cells.type) else cells

    @contextlib.contextmanager
    def _open(self, as_dictionary: list[str]) -> Iterator[pq.ParquetFile]:
        with pq.ParquetFile(
            self.path,
            metadata=self._footer,
            read_dictionary=as_dictionary,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        ) as file:
            yield file

    def _pages(self, leaf: str) -> Iterator[Page]:
        """Yield the pages of a column, or of one field of a struct column, over all row groups."""
        with self._as_data_errors(), self.path.open("rb") as file:
            for group in self._groups:
                if leaf not in group.chunks:
                    raise LayoutError(f"is damaged: a row group lacks column {leaf!r}")
                for page in pages(file, group.chunks[leaf]):
                    if page.encoding == DELTA_BYTE_ARRAY:
                        raise DataError(
                            f"{self.path}: column {leaf!r} is stored as DELTA_BYTE_ARRAY, which "
                            "is not supported; write the file again with pyarrow, pandas or "
                            "datasets"
                        )
                    yield page

    @contextlib.contextmanager
    def _as_data_errors(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except LayoutError as error:
            raise DataError(f"{self.path}: {error}") from None
        except (OSError, ValueError, IndexError, MemoryError, pa.ArrowException) as error:
            first = first_line(error)
            raise DataError(f"{self.path}: cannot be read: {first[:200]}") from None

    def _bomb(self, column: str, size: int, limit: int) -> DataError:
        return DataError(
            f"{self.path}: column {column!r} decompresses to {_mebibytes(size)} at once, more "
            f"than {_mebibytes(limit)}; write the file again with smaller pages"
        )


class _Window:
    """Sliding window over the most recently read rows of a binary column."""

    def __init__(self, batches: Iterator[pa.Array]) -> None:
        self._batches = batches
        self._recent: deque[pa.Array] = deque()
        self.first = 0
        """First row of the row group that is still in memory."""
        self._end = 0

    def cell(self, row: int) -> bytes | None:
        """Return the bytes of a row, `first` or later; None if the cell is empty."""
        while row >= self._end:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError("a row group ends before its last row")
            self._recent.append(batch)
            self._end += len(batch)
            while (
                len(self._recent) > 1 and sum(some.nbytes for some in self._recent) > _WINDOW_BYTES
            ):
                self.first += len(self._recent.popleft())
        at = row - self.first
        for batch in self._recent:
            if at < len(batch):
                return batch[at].as_py()  # type: ignore[no-any-return]
            at -= len(batch)
        return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    others = types.is_boolean(kind) or types.is_null(kind) or types.is_temporal(kind)
    return bool(_is_text(kind) or numbers or others)


def _chunk_texts(chunk: pa.Array) -> list[str]:
    if not pa.types.is_dictionary(chunk.type):
        return [as_text(value) for value in chunk.to_pylist()]
    values = [_cell_text(value) for value in _safe_list(chunk.dictionary)]
    return ["" if index is None else values[index] for index in chunk.indices.to_pylist()]


def _safe_list(values: pa.Array) -> list[Any]:
    """Convert values to Python objects; replace invalid UTF-8 in text."""
    if not _is_text(values.type):
        return list(values.to_pylist())
    raw = values.cast(pa.large_binary()).to_pylist()
    return [None if cell is None else cell.decode("utf-8", "replace") for cell in raw]


def _cell_text(value: object) -> str:
    return as_text(value)[:_CELL_CHARACTERS]


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
