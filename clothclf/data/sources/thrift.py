"""Read structs in Thrift's compact protocol, the format of parquet metadata.

Arrow's own metadata classes abort the process on some damaged files.
"""

from __future__ import annotations

from typing import Any

Struct = dict[int, Any]
"""Fields by number. Lists of structs and of text are kept; other lists are None."""

_DEEPEST = 12
_BOOLS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (
    (1, 2),
    3,
    (4, 5, 6),
    7,
    8,
    (9, 10),
    12,
)


class ThriftError(Exception):
    """The bytes are not a valid struct."""


def read_struct(content: bytes, at: int, depth: int = 0) -> tuple[Struct, int]:
    """Return the struct that starts at byte `at`, and the position after it.

    Raises ThriftError, or IndexError if the content ends before the struct does.
    """
    if depth > _DEEPEST:
        raise ThriftError("it is nested too deep")
    fields: Struct = {}
    number = 0
    while (head := content[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        kind = head & 15
        if kind in _BOOLS:  # the kind itself encodes the value
            fields[number] = kind == 1
        else:
            fields[number], at = _value(content, at, kind, depth)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(content, at)
    if kind == _STRUCT:
        return read_struct(content, at, depth + 1)
    if kind == _BINARY:
        length, at = _varint(content, at)
        if at + length > len(content):
            raise IndexError
        return content[at : at + length], at + length
    if kind in _LISTS:
        return _list(content, at, depth)
    if kind in (*_BOOLS, _BYTE):
        return content[at], at + 1
    if kind == _DOUBLE:
        content[at + 7]
        return None, at + 8
    raise ThriftError("it is damaged")


def _list(content: bytes, at: int, depth: int) -> tuple[list[Any] | None, int]:
    head = content[at]
    count, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(content, at + 1)
    kind = head & 15
    values: list[Any] | None = [] if kind in (_STRUCT, _BINARY) else None
    for _ in range(count):
        value, at = _value(content, at, kind, depth + 1)
        if values is not None:
            values.append(value)
    return values, at


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
            raise ThriftError("it is damaged")


def _integer(content: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(content, at)
    return (number >> 1) ^ -(number & 1), at
