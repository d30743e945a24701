"""Stored state of a selection: request, candidates and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from benchmark.config.study import StudySettings
from benchmark.errors import SelectError
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import PROTOCOL_VERSION
from benchmark.select.rung import ImageCounts, Rung, Speed
from clothclf.data.atomic import json_sha256
from clothclf.settings import ArchitectureSettings, Settings

VERSION: Literal[2] = 2

Final = Literal["finetune", "study"]


class Request(Settings):
    """Request of the user, in addition to the study."""

    patterns: tuple[str, ...]
    """Names, wildcards and lists; empty for the study's own architectures."""
    budget_s: float
    finalists: int
    """Maximum number of finalists."""
    final: Literal["auto", "finetune", "study"]
    """Training of finalists: fine-tuned, or as in the study. `auto` fine-tunes if pretrained
    weights are available. A study that trains whole networks takes precedence."""


class Candidate(Settings):
    """One requested architecture."""

    name: str
    """Architecture name, with the image size if sizes differ."""
    architecture: ArchitectureSettings
    """Resolved entry with `image_size` in pixels."""
    macs: int | None
    """MACs of one image including the head; None if they cannot be counted."""
    params: int | None
    training_macs: int | None = None
    """MACs of the training form, if it differs from the deployed form."""
    out: str = ""
    """Reason for exclusion; empty if the candidate enters."""

    @property
    def gmacs(self) -> float | None:
        """GMACs of the training form, from which times are estimated."""
        macs = self.training_macs or self.macs
        return None if macs is None else macs / 1e9


class Winner(Settings):
    """Winner of a selection."""

    name: str
    """Name of the candidate."""
    rung: str
    """Label of the deciding rung: `heads`, `final` or `seeds`."""
    run: Path
    """Folder of its run, or of the seed with the highest accuracy, relative to the tracking
    folder."""
    valid_accuracy: float


class Selection(Settings):
    """Complete state of a selection, from which it can be resumed."""

    former_keys: ClassVar[Mapping[str, str]] = {
        "pictures": "image_counts",
        "entrants": "candidates",
    }

    version: Literal[2] = VERSION
    check: str = ""
    """SHA-256 of the file without this."""
    name: str
    request: Request
    fingerprint: str
    """Fingerprint of the study's whole data."""
    image_counts: ImageCounts
    final: Final
    """Resolved value of `request.final`."""
    candidates: tuple[Candidate, ...]
    speed: Speed
    rungs: tuple[Rung, ...]
    """Rungs decided so far; each is stored before its first run starts."""
    complete: bool = False
    """Whether no further rung will be added."""
    winner: Winner | None = None

    @property
    def remaining(self) -> list[Candidate]:
        """Candidates that are not excluded."""
        return [candidate for candidate in self.candidates if not candidate.out]


def selection_name(study: StudySettings, request: Request, fingerprint: str) -> str:
    """Name from the study and a hash of the request, so that the same command resumes.

    Tracking location, device and concurrency are not part of the hash.
    """
    aside = {"tracking", "limits", "device", "measure"}
    aside |= {"tuning"} if study.tuning is None else set()  # earlier selections have no such key
    parts: dict[str, Any] = {
        "version": [VERSION, PROTOCOL_VERSION],
        "study": study.model_dump(mode="json", exclude=aside),
        "request": request.model_dump(mode="json"),
        "data": fingerprint,
    }
    return f"{study.study}-{json_sha256(parts)[:8]}"


def selection_file(root: Path, name: str) -> Path:
    """File of a selection below the tracking folder."""
    return root / "selections" / f"{name}.json"


def read_selection(root: Path, name: str) -> Selection | None:
    """Read a stored selection; None if there is none. Raises SelectError for a damaged file."""
    path = selection_file(root, name)
    if not path.exists():
        return None
    selection = RunFolder(path.parent).read(path.name, Selection, checked=False)
    if selection is None:
        raise SelectError(
            f"{path}: is damaged; delete it to restart the selection (finished runs are kept)"
        )
    return selection


def write_selection(root: Path, selection: Selection) -> None:
    """Store a selection atomically."""
    path = selection_file(root, selection.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    RunFolder(path.parent).write(path.name, selection)


class Spent(Settings):
    """Seconds of each phase so far, over all commands of a selection."""

    check: str = ""
    """SHA-256 of the file without this."""
    seconds: dict[str, float] = Field(default_factory=dict)


def read_spent(root: Path, name: str) -> Spent:
    """Read the time spent earlier; empty if unknown."""
    path = _spent_file(root, name)
    return RunFolder(path.parent).read(path.name, Spent, checked=False) or Spent()


def write_spent(root: Path, name: str, spent: Spent) -> None:
    """Store the time spent."""
    path = _spent_file(root, name)
    RunFolder(path.parent).write(path.name, spent)


def _spent_file(root: Path, name: str) -> Path:
    return root / "selections" / f"{name}.spent.json"
