"""Audit results of data sets, stored beside the runs so that reports can show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from benchmark.runs.run_folder import RunFolder
from benchmark.runs.upgrade import upgraded_audit
from clothclf.settings import Settings

HOW_TO_CORRECT = (
    "To correct the labels, write the suspects with bench data audit --csv suspects.csv, fill in "
    "its column decision (keep, suggested, exclude or the right class), and set data.corrections: "
    "suspects.csv."
)


class Suspect(Settings):
    """An image whose label may be wrong."""

    id: str
    label: str
    suggested: str
    """The class that the audit's heads predict."""
    p_label: float
    """Predicted probability of the label, 0 to 1."""
    p_suggested: float
    split: str
    suspected_by: int = 1
    """Number of heads that suspect the label by themselves."""


class AuditHead(Settings):
    """A head of an audit, trained on the features of a frozen backbone."""

    architecture: str
    image_size: int
    """Side of the backbone's input images in pixels."""
    weights: str
    """Name of the weights of the backbone."""
    weights_sha256: str
    """SHA-256 of the file of weights; empty for random weights."""
    accuracy: float
    """Accuracy of the head by itself, on the images outside its training folds; 0 to 1."""


class Audit(Settings):
    """Suspect labels of one data set, and the settings of the audit."""

    former_keys: ClassVar[Mapping[str, str]] = {"pictures": "images"}
    upgrade: ClassVar[Callable[[Any], Any]] = staticmethod(upgraded_audit)

    version: Literal[2] = 2
    check: str = ""
    """SHA-256 of the file with this field empty."""
    fingerprint: str
    """Fingerprint of the data: id, pixels, label and split of every image."""
    title: str
    heads: tuple[AuditHead, ...]
    """Heads whose probabilities are averaged, one for each architecture."""
    folds: int
    images: int
    accuracy: float
    """Accuracy of the averaged probabilities, on the images outside the training folds; 0 to 1."""
    suspects: tuple[Suspect, ...]
    """Suspects, the most doubtful first."""

    @property
    def heads_text(self) -> str:
        """Describe the heads as part of a sentence."""
        if len(self.heads) == 1:
            return f"a head on {self.heads[0].architecture}, weights {self.heads[0].weights}"
        listed = " and ".join(
            f"{head.architecture} (weights {head.weights})" for head in self.heads
        )
        return f"averaged heads on {listed}"


def store_audit(root: Path, audit: Audit) -> Path:
    """Store an audit, replacing an earlier one of the same data; return the path of its file."""
    folder = RunFolder(root / "audits")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(_name(audit.fingerprint), audit)
    return folder.path / _name(audit.fingerprint)


def find_audit(root: Path, fingerprint: str) -> Audit | None:
    """Return the audit of a data set, or None if it is missing or damaged."""
    audit = RunFolder(root / "audits").read(_name(fingerprint), Audit)
    return audit if audit is not None and audit.fingerprint == fingerprint else None


def _name(fingerprint: str) -> str:
    return f"{fingerprint}.json"
