"""The contract of a source: a listing of its pictures, their bytes, and what was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One row or picture that was repaired or dropped, and why."""

    action: Literal["repaired", "dropped"]
    reason: str
    """One of a few fixed phrases, so that findings can be counted by reason."""
    image_id: str
    detail: str = ""


@dataclass(frozen=True)
class Listing:
    """What a source offers, before any picture is decoded."""

    rows: pd.DataFrame
    """Columns `id` and `label` (text), one row for each picture that can be read, ids unique."""
    rows_read: int
    """Rows in the source's own table, bad ones included."""
    findings: tuple[Finding, ...]


class Source(Protocol):
    """Where labelled pictures come from. Reading never writes, runs or unpacks anything."""

    title: str
    """For reports, such as `fashion.zip`."""
    synthetic: bool
    """Whether the pictures are drawn, not photographed."""

    def list_images(self, label: str) -> Listing:
        """List the pictures with the class that column `label` gives; raises DataError."""

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded picture; raises DataError where it cannot be read."""

    def stamp(self) -> str:
        """Text that changes when the source's files do; cheap, from sizes and times."""
