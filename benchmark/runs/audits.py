"""Audit results of data sets, stored beside the runs so that reports can show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from benchmark.runs.run_folder import RunFolder
from clothclf.settings import Settings


class Suspect(Settings):
    """An image whose label may be wrong."""

    id: str
    label: str
    suggested: str
    """The class that the audit's head predicts."""
    p_label: float
    """Predicted probability of the label, 0 to 1."""
    p_suggested: float
    split: str


class Audit(Settings):
    """Suspect labels of one data set, and the settings of the audit."""

    former_keys: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    version: Literal[1] = 1
    check: str = ""
    """SHA-256 of the file with this field empty."""
    fingerprint: str
    """Fingerprint of the data: id, pixels, label and split of every image."""
    title: str
    architecture: str
    """Architecture of the frozen backbone whose features the heads were trained on."""
    image_size: int
    """Side of the backbone's input images in pixels."""
    weights: str
    """Name of the weights of the backbone."""
    weights_sha256: str
    """SHA-256 of the file of weights; empty for random weights."""
    folds: int
    images: int
    accuracy: float
    """Accuracy of the heads, each on the images outside its training folds; 0 to 1."""
    suspects: tuple[Suspect, ...]
    """Suspects, the most doubtful first."""


def store_audit(root: Path, audit: Audit) -> Path:
    """Store an audit, replacing an earlier one of the same data; return the path of its file."""
    folder = RunFolder(root / "audits")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(_name(audit.fingerprint), audit)
    return folder.path / _name(audit.fingerprint)


def find_audit(root: Path, fingerprint: str) -> Audit | None:
    """Return the audit of a data set, or None if it is missing or damaged."""
    found = RunFolder(root / "audits").read(_name(fingerprint), Audit)
    return found if found is not None and found.fingerprint == fingerprint else None


def _name(fingerprint: str) -> str:
    return f"{fingerprint}.json"
