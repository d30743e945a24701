"""Interface of a source: query, listing of its images, and their bytes.

A source lists all its rows as text, and marks those that it knows to be unusable.
`clothclf.data.sources.selection` selects the rows of a study, in the same way for all sources.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Literal, Protocol

from clothclf.errors import DataError, did_you_mean

MAX_IMAGE_BYTES = 64 * 2**20
"""Maximum size of an encoded image in bytes. Larger files are not images, or are decompression
bombs."""


@dataclass(frozen=True)
class Finding:
    """A repaired or dropped row or image, with the reason."""

    action: Literal["repaired", "dropped"]
    reason: str
    """Fixed phrase, so that findings can be counted by reason."""
    image_id: str
    detail: str = ""


@dataclass(frozen=True)
class Query:
    """Query of a study to a source: the columns that it needs."""

    label: str
    """Column with the class."""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Filters: for each column, the values of the rows to keep."""
    split: str | None = None
    """Column with the split of each image; None if there is none."""
    group: str | None = None
    """Column with the group of each image; None if there is none."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Required columns of the listing: those of the label, the filters, split and group."""
        more = [name for name in (self.split, self.group) if name is not None]
        return tuple(dict.fromkeys([self.label, *self.where, *more]))


Wanted = Query
"""Former name, which plug-ins may import."""


@dataclass(frozen=True)
class Listing:
    """All rows of a source, before decoding; all non-empty sequences have the length of `ids`."""

    ids: Sequence[str]
    """Name of each image, used to read its bytes; empty if a row has none."""
    columns: Mapping[str, Sequence[str]]
    """At least the requested columns, as text (see `as_text`); empty text for missing values."""
    splits: Sequence[str] = ()
    """Split of each image as given by the source, any of `SPLIT_NAMES`; empty if there is none.
    A split column named by the study takes precedence."""
    errors: Sequence[str] = ()
    """Reason why each row cannot be used, a fixed phrase; empty text if it can."""
    places: Sequence[str] = ()
    """Location of each row for findings, such as `line 12`."""
    findings: tuple[Finding, ...] = ()
    """Repairs made while reading; dropped rows are counted from `errors`."""
    faults: InitVar[Sequence[str]] = ()
    """Former name of `errors`, which plug-ins may pass."""

    def __post_init__(self, faults: Sequence[str]) -> None:
        """Accept the former name."""
        if faults:
            warnings.warn("Listing: faults was renamed to errors", DeprecationWarning, 3)
            object.__setattr__(self, "errors", faults)


class Source(Protocol):
    """Source of labelled images. Reading never writes, executes or unpacks anything."""

    title: str
    """Short one-line name for reports, such as `fashion.zip`."""
    synthetic: bool
    """Whether the images are synthetic drawings, not photographs."""

    def list_images(self, query: Query) -> Listing:
        """List every image with the requested columns.

        Raises DataError if the source cannot be read or lacks a column (see `no_column`).
        """

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded image, at most `MAX_IMAGE_BYTES` long.

        Must be thread-safe. Raises DataError if the image cannot be read; it is then dropped and
        counted.
        """

    def stamp(self) -> str:
        """Return text that changes when the source's files do; fast, from sizes and times."""


def as_text(value: object) -> str:
    """Convert a table's value to stripped text: None and NaN to empty text, 2.0 to `2`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def no_column(where: str, name: str, columns: Iterable[str]) -> DataError:
    """Create the error for a missing column, with a list of the table's columns."""
    known = list(columns)
    names = ", ".join(column[:40] for column in known[:20])
    hint = did_you_mean(name, known)
    # Column `id` belongs to the layout; the config names all others.
    remedy = (
        "" if name == "id" else "; check data.label, image, where, split.column and split.group"
    )
    return DataError(f"{where}: no column {name!r}{hint}; its columns are: {names}{remedy}")


_BREAKS_OUT = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, bidirectional controls and lone surrogates."""


def is_one_line(text: str) -> bool:
    """Whether a name or label has no characters that break out of its line or field.

    Unlike `str.isprintable`, accepts special spaces and the joiners of emoji.
    """
    return _BREAKS_OUT.search(text) is None


def escaped(text: str) -> str:
    """Escape unsafe characters of a name as in Python: `a\\nb`, `caf\\udce9`."""
    return _BREAKS_OUT.sub(lambda match: ascii(match[0])[1:-1], text)


def plain_title(name: str) -> str:
    """Convert a name to one short line for reports."""
    return "".join(c if c.isprintable() else "?" for c in name)[:200]
