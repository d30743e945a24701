"""What an audit found in a data set, kept beside the runs so that reports can tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from benchmark.runs.folder import RunFolder
from clothclf.settings import Settings


class Suspect(Settings):
    """An image whose label is doubted."""

    id: str
    label: str
    suggested: str
    """The class that the audit's head answers instead."""
    p_label: float
    """Probability of the label, 0 to 1."""
    p_suggested: float
    split: str


class Audit(Settings):
    """The suspects of one data set, and what found them."""

    former_keys: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file without this."""
    fingerprint: str
    """Of the data: id, pixels, label and split of every image."""
    title: str
    architecture: str
    """Whose features the head learnt from, with its body frozen."""
    image_size: int
    """Of those images, in pixels."""
    weights: str
    """Name of the backbone's weights."""
    weights_sha256: str
    """Of their file; empty for random ones."""
    folds: int
    images: int
    accuracy: float
    """Of the heads, each on the images that it has not learnt from; 0 to 1."""
    suspects: tuple[Suspect, ...]
    """The most doubtful first."""


def store_audit(root: Path, audit: Audit) -> Path:
    """Keep an audit in place of one of the same data; return its file below the tracking folder."""
    folder = RunFolder(root / "audits")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(_name(audit.fingerprint), audit)
    return folder.path / _name(audit.fingerprint)


def find_audit(root: Path, fingerprint: str) -> Audit | None:
    """The audit of a data set; None where there is none, or it is not as it was written."""
    found = RunFolder(root / "audits").read(_name(fingerprint), Audit)
    return found if found is not None and found.fingerprint == fingerprint else None


def _name(fingerprint: str) -> str:
    return f"{fingerprint}.json"
