"""The contract of a source: what is wanted of it, the images it lists, and their bytes.

A source lists everything it has, as text, and says what it knows to be wrong. Which rows a study
takes is decided in one place for all sources, `clothclf.data.sources.selection`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from clothclf.errors import DataError, did_you_mean

MAX_IMAGE_BYTES = 64 * 2**20
"""Larger files are no images to learn from, or are meant to fill the memory."""


@dataclass(frozen=True)
class Finding:
    """One row or image that was repaired or dropped, and why."""

    action: Literal["repaired", "dropped"]
    reason: str
    """One of a few fixed phrases, so that findings can be counted by reason."""
    image_id: str
    detail: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a study asks of a source: the columns it needs."""

    label: str
    """Column that holds the class."""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column by column, the values whose rows are wanted."""
    split: str | None = None
    """Column that names the split of each image; None where there is none."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the listing must have: for the label, the filters and the split."""
        split = () if self.split is None else (self.split,)
        return tuple(dict.fromkeys([self.label, *self.where, *split]))


@dataclass(frozen=True)
class Listing:
    """All that a source has, before any image is decoded; every sequence is as long as `ids`."""

    ids: Sequence[str]
    """Name of each image, by which its bytes are read; empty where a row has none."""
    columns: Mapping[str, Sequence[str]]
    """At least the columns wanted, as text (see `as_text`); empty text where there is no value."""
    splits: Sequence[str] = ()
    """The split that the source itself gives each image, in any of `SPLIT_NAMES`; else nothing.
    A column of splits that the study names comes first."""
    faults: Sequence[str] = ()
    """Why a row cannot be used, one of a few fixed phrases; empty text where it can."""
    places: Sequence[str] = ()
    """Where each row stands, for findings: `line 12`."""
    findings: tuple[Finding, ...] = ()
    """What was repaired while reading; rows that are dropped are counted from `faults`."""


class Source(Protocol):
    """Where labelled images come from. Reading never writes, runs or unpacks anything."""

    title: str
    """For reports, such as `fashion.zip`: one short line."""
    synthetic: bool
    """Whether the images are drawn, not photographed."""

    def list_images(self, wanted: Wanted) -> Listing:
        """List every image, with the columns wanted.

        Raises DataError where the source cannot be read or has no such column (`no_column`).
        """

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded image, at most `MAX_IMAGE_BYTES` of it.

        Many threads call it at a time. Raises DataError where the image cannot be read; it is
        then left out and counted.
        """

    def stamp(self) -> str:
        """Text that changes when the source's files do; cheap, from sizes and times."""


def as_text(value: object) -> str:
    """A table's value as text: nothing for None and NaN, no `.0` on whole numbers, no blanks."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def no_column(where: str, name: str, columns: Iterable[str]) -> DataError:
    """The error of a table that lacks a column, with what it has."""
    known = list(columns)
    names = ", ".join(column[:40] for column in known[:20])
    hint = did_you_mean(name, known)
    # `id` is the layout's own; the others are what the config says.
    remedy = "" if name == "id" else "; data.label, image, where and split.column name them"
    return DataError(f"{where}: no column {name!r}{hint}; its columns are: {names}{remedy}")


_BREAKS_OUT = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, what reverses the text around it, and halves of characters."""


def is_one_line(text: str) -> bool:
    """Whether a name or label is text that stays within its line and field.

    More than `str.isprintable` takes: the odd blanks and joiners of file names and emoji as well.
    """
    return _BREAKS_OUT.search(text) is None


def escaped(text: str) -> str:
    """A name with what is unsafe in it written as Python does: `a\\nb`, `caf\\udce9`."""
    return _BREAKS_OUT.sub(lambda found: ascii(found[0])[1:-1], text)


def plain_title(name: str) -> str:
    """A name as one short line for reports."""
    return "".join(c if c.isprintable() else "?" for c in name)[:200]
