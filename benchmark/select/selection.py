"""A selection as it is written down when it begins: what was asked, who enters, the schedule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from benchmark.config.study import StudySettings
from benchmark.errors import SelectError
from benchmark.runs.spec import PROTOCOL_VERSION
from benchmark.select.rung import ImageCounts, Rung, Speed
from clothclf.data.atomic import write_text
from clothclf.settings import ArchitectureSettings, Settings

VERSION: Literal[2] = 2

Final = Literal["finetune", "study"]


class Request(Settings):
    """What the user asked for, beside the study."""

    patterns: tuple[str, ...]
    """Names, wildcards and lists; the study's own architectures where there are none."""
    budget_s: float
    finalists: int
    """At most."""
    final: Literal["auto", "finetune", "study"]
    """How finalists are trained: fine-tuned, or as the study says; `auto` fine-tunes where there
    are weights to begin with. A study that trains whole networks itself decides."""


class Candidate(Settings):
    """One architecture that was asked for."""

    name: str
    """The architecture's, with its size where they differ."""
    architecture: ArchitectureSettings
    """Its `image_size` is in pixels."""
    macs: int | None
    """Headline, of one image, with the architecture's head; None where it cannot be counted."""
    params: int | None
    training_macs: int | None = None
    """Of the form that trains, where the headline is of another, deployed one."""
    out: str = ""
    """Why it does not enter; empty where it does."""

    @property
    def gmacs(self) -> float | None:
        """10^9 multiply-adds of the form that trains: what times are worked out from."""
        macs = self.training_macs or self.macs
        return None if macs is None else macs / 1e9


class Winner(Settings):
    """The answer of a selection."""

    name: str
    """The entrant's."""
    rung: str
    """Label of the rung that it won in: `heads`, `final` or `seeds`."""
    run: Path
    """Folder of its run, or of that of its seeds with the highest accuracy, below the tracking
    folder."""
    valid_accuracy: float


class Selection(Settings):
    """All that decides how a selection goes on: read back, it goes on in the same way."""

    former_keys: ClassVar[Mapping[str, str]] = {
        "pictures": "image_counts",
        "entrants": "candidates",
    }

    version: Literal[2] = VERSION
    name: str
    request: Request
    fingerprint: str
    """Of the study's whole data."""
    image_counts: ImageCounts
    final: Final
    """What `request.final` came to."""
    candidates: tuple[Candidate, ...]
    speed: Speed
    rungs: tuple[Rung, ...]
    """Those that are decided: each is written down before its first run begins."""
    complete: bool = False
    """No further rung will be decided."""
    winner: Winner | None = None

    @property
    def remaining(self) -> list[Candidate]:
        """Those that are not left out."""
        return [candidate for candidate in self.candidates if not candidate.out]


def selection_name(study: StudySettings, request: Request, fingerprint: str) -> str:
    """The study's name and a hash of what was asked: the same command goes on where it was.

    Where things are kept, on which device and how many at a time are not part of it.
    """
    aside = {"tracking", "limits", "device", "measure"}
    parts: dict[str, Any] = {
        "version": [VERSION, PROTOCOL_VERSION],
        "study": study.model_dump(mode="json", exclude=aside),
        "request": request.model_dump(mode="json"),
        "data": fingerprint,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    return f"{study.study}-{digest}"


def selection_file(root: Path, name: str) -> Path:
    """Where a selection is written down, below the tracking folder."""
    return root / "selections" / f"{name}.json"


def read_selection(root: Path, name: str) -> Selection | None:
    """The selection as it began; None where it has not. Raises SelectError for a damaged file."""
    path = selection_file(root, name)
    try:
        return Selection.from_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, ValidationError):
        raise SelectError(
            f"{path}: is not as bench wrote it; delete it to begin the selection anew "
            "(finished runs stay)"
        ) from None


def write_selection(root: Path, selection: Selection) -> None:
    """Write it down, whole or not at all."""
    path = selection_file(root, selection.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, selection.model_dump_json(indent=1) + "\n")


class Spent(Settings):
    """Seconds that each phase has taken so far, over all commands; its beginning is `setup`."""

    seconds: dict[str, float] = Field(default_factory=dict)


def read_spent(root: Path, name: str) -> Spent:
    """What was spent before; nothing where that is not known."""
    try:
        return Spent.model_validate_json(_spent_file(root, name).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return Spent()


def write_spent(root: Path, name: str, spent: Spent) -> None:
    """Keep it."""
    write_text(_spent_file(root, name), spent.model_dump_json(indent=1) + "\n")


def _spent_file(root: Path, name: str) -> Path:
    return root / "selections" / f"{name}.spent.json"
