"""Page headers of a parquet file, read before any page is unpacked: so its true size is known.

The footer's sizes may say anything; a reader makes room for what each page's own header says. The
layout is that of parquet's `parquet.thrift`, in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

DELTA_BYTE_ARRAY = 7
"""The encoding by which a value repeats the start of the one before: kilobytes become gigabytes."""
MAX_HEADER_BYTES = 2**24
_FIRST_READ = 4096
_DEEPEST = 8
_BEYOND = 100
"""Bytes that readers look past a column's end, since old writers counted too few."""

_Struct = dict[int, Any]


class Page(NamedTuple):
    """One page of a column, as its header describes it."""

    unpacked_bytes: int
    values: int
    encoding: int
    is_dictionary: bool


class PageError(Exception):
    """What stands there is no page header."""


def pages(file: BinaryIO, start: int, length: int, values: int) -> Iterator[Page]:
    """Yield a column chunk's pages: from byte `start`, until `values` of them are counted.

    Raises PageError, and OSError where the file cannot be read.
    """
    position, seen = start, 0
    while seen < values and position < start + length + _BEYOND:
        header, size = _read_header(file, position)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or packed < 0:
            raise PageError("a page has no size")
        data = header.get(5) or header.get(8)
        shape = data or header.get(7) or {}
        count, encoding = shape.get(1, 0), shape.get(4 if header.get(8) else 2, 0)
        if not isinstance(count, int) or not isinstance(encoding, int) or count < 0:
            raise PageError("a page has no number of values")
        if data:
            seen += count
        yield Page(max(unpacked, packed), count, encoding, 7 in header)
        position += size + packed


def _read_header(file: BinaryIO, position: int) -> tuple[_Struct, int]:
    """A page's header and its length in bytes."""
    size = _FIRST_READ
    while True:
        file.seek(position)
        content = file.read(size)
        try:
            header, end = _struct(content, 0, 0)
        except IndexError:
            if len(content) < size or size >= MAX_HEADER_BYTES:
                raise PageError("a page's header has no end") from None
            size *= 16
            continue
        return header, end


def _struct(content: bytes, at: int, depth: int) -> tuple[_Struct, int]:
    """Fields of a struct by their number; IndexError where the content ends before it."""
    if depth > _DEEPEST:
        raise PageError("a page's header is nested too deep")
    fields: _Struct = {}
    number = 0
    while (head := content[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        kind = head & 15
        if kind in (1, 2):  # a bool stands in the kind itself
            fields[number] = kind == 1
        else:
            fields[number], at = _value(content, at, kind, depth)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):
        return _integer(content, at)
    if kind == 12:
        return _struct(content, at, depth + 1)
    if kind == 8:
        length, at = _varint(content, at)
        return None, _skipped(content, at, length)
    if kind in (1, 2, 3):
        return None, _skipped(content, at, 1)
    if kind == 7:
        return None, _skipped(content, at, 8)
    if kind in (9, 10):
        return None, _list_end(content, at, depth)
    raise PageError("a page's header is damaged")


def _list_end(content: bytes, at: int, depth: int) -> int:
    head = content[at]
    count, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(content, at + 1)
    for _ in range(count):
        _, at = _value(content, at, head & 15, depth + 1)
    return at


def _skipped(content: bytes, at: int, length: int) -> int:
    if at + length > len(content):
        raise IndexError
    return at + length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise PageError("a page's header is damaged")


def _integer(content: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(content, at)
    return (number >> 1) ^ -(number & 1), at
