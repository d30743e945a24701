"""Parse the footer and page headers of a parquet file.

A reader allocates the size in a page's header, whatever the footer says, so both are read before
anything is unpacked. Field numbers are those of parquet's `parquet.thrift`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from clothclf.data.sources.thrift import Struct, ThriftError, read_struct

DELTA_BYTE_ARRAY = 7
"""Encoding in which values repeat the prefix of the previous one: kilobytes become gigabytes."""
MAX_FOOTER_BYTES = 2**24
MAX_HEADER_BYTES = 2**24
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_FIRST_READ = 4096
_BEYOND = 100
"""Bytes that readers read past a column's end, because old writers stored too small a size."""


class LayoutError(Exception):
    """The file is not a parquet file, or its metadata is damaged."""


@dataclass(frozen=True)
class Chunk:
    """Pages of one column in one row group."""

    start: int
    length: int
    values: int


@dataclass(frozen=True)
class Group:
    """Row group, with column chunks by path, such as `image.bytes`."""

    rows: int
    chunks: dict[str, Chunk]


class Page(NamedTuple):
    """Page of a column, as described by its header."""

    unpacked_bytes: int
    values: int
    encoding: int
    is_dictionary: bool


def read_footer(file: BinaryIO) -> list[Group]:
    """Return the row groups of a file; raises LayoutError, or OSError if it cannot be read."""
    start = file.read(4)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length, end = struct.unpack("<I4s", file.read(8).rjust(8, b"\0"))
    if _ENCRYPTED in (start, end):
        raise LayoutError("is encrypted; write it again without encryption")
    if start != _MAGIC:
        raise LayoutError("is not a parquet file")
    if end != _MAGIC or length > size - 12:
        raise LayoutError("is truncated; download it again")
    if length > MAX_FOOTER_BYTES:
        raise LayoutError(f"has too large a footer, of {length / 2**20:,.0f} MiB")
    file.seek(size - 8 - length)
    try:
        footer, _ = read_struct(file.read(length), 0)
        groups = [_group(group) for group in footer.get(4) or []]
    except (ThriftError, IndexError, TypeError, AttributeError, KeyError, ValueError):
        raise LayoutError("is damaged: its footer cannot be read") from None
    rows = sum(group.rows for group in groups)
    if rows != footer.get(3) or any(group.rows < 0 for group in groups):
        raise LayoutError("is damaged: its row groups do not add up to its rows")
    return groups


def _group(fields: Struct) -> Group:
    chunks = {}
    for column in fields[1] or []:
        meta: Struct = column[3]
        path = b".".join(meta[3]).decode()
        start, length, values = meta[9], meta[7], meta[5]
        if dictionary := meta.get(11):
            start = min(start, dictionary)
        if min(start, length, values - fields[3]) < 0 or column.get(1):
            raise ValueError("impossible sizes, or another file")
        chunks[path] = Chunk(start, length, values)
    return Group(fields[3] + 0, chunks)


def pages(file: BinaryIO, chunk: Chunk) -> Iterator[Page]:
    """Yield a chunk's pages until all its values are covered.

    Raises LayoutError, or OSError if the file cannot be read.
    """
    position, seen = chunk.start, 0
    while seen < chunk.values and position < chunk.start + chunk.length + _BEYOND:
        header, size = _read_header(file, position)
        unpacked: Any = header.get(2)
        bundled: Any = header.get(3)
        data: Any = header.get(5) or header.get(8)
        shape: Any = data or header.get(7) or {}
        try:
            count, encoding = shape.get(1, 0), shape.get(4 if header.get(8) else 2, 0)
        except AttributeError:
            raise LayoutError("is damaged: a page has no shape") from None
        if not all(isinstance(n, int) for n in (unpacked, bundled, count, encoding)):
            raise LayoutError("is damaged: a page has no size")
        if bundled < 0 or count < 0:
            raise LayoutError("is damaged: a page has an impossible size")
        if data:
            seen += count
        yield Page(max(unpacked, bundled), count, encoding, 7 in header)
        position += size + bundled


def _read_header(file: BinaryIO, position: int) -> tuple[Struct, int]:
    """Return a page's header and its length in bytes."""
    size = _FIRST_READ
    while True:
        file.seek(position)
        content = file.read(size)
        try:
            return read_struct(content, 0)
        except ThriftError:
            raise LayoutError("is damaged: a page's header cannot be read") from None
        except IndexError:
            if len(content) < size or size >= MAX_HEADER_BYTES:
                raise LayoutError("is damaged: a page's header has no end") from None
            size *= 16
