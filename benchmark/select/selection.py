"""A selection as it is written down when it begins: what was asked, who enters, the schedule."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from benchmark.errors import SelectError
from benchmark.plan import PROTOCOL_VERSION
from benchmark.runner.run_folder import RunFolder
from benchmark.select.rung import Pictures, Rung, Speed
from benchmark.study import StudySettings
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


class Entrant(Settings):
    """One architecture that was asked for."""

    name: str
    """The architecture's, with its size where they differ."""
    architecture: ArchitectureSettings
    """Its `image_size` is in pixels."""
    macs: int | None
    """Headline, of one picture, with the architecture's head; None where it cannot be counted."""
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

    version: Literal[2] = VERSION
    check: str = ""
    """SHA-256 of the file without this."""
    name: str
    request: Request
    fingerprint: str
    """Of the study's whole data."""
    pictures: Pictures
    final: Final
    """What `request.final` came to."""
    entrants: tuple[Entrant, ...]
    speed: Speed
    rungs: tuple[Rung, ...]
    """Those that are decided: each is written down before its first run begins."""
    complete: bool = False
    """No further rung will be decided."""
    winner: Winner | None = None

    @property
    def entering(self) -> list[Entrant]:
        """Those that are not left out."""
        return [entrant for entrant in self.entrants if not entrant.out]


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
    if not path.exists():
        return None
    found = RunFolder(path.parent).read(path.name, Selection, checked=False)
    if found is None:
        raise SelectError(
            f"{path}: is not as bench wrote it; delete it to begin the selection anew "
            "(finished runs stay)"
        )
    return found


def write_selection(root: Path, selection: Selection) -> None:
    """Write it down, whole or not at all."""
    path = selection_file(root, selection.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    RunFolder(path.parent).write(path.name, selection)


class Spent(Settings):
    """Seconds that each phase has taken so far, over all commands; its beginning is `setup`."""

    check: str = ""
    """SHA-256 of the file without this."""
    seconds: dict[str, float] = Field(default_factory=dict)


def read_spent(root: Path, name: str) -> Spent:
    """What was spent before; nothing where that is not known."""
    path = _spent_file(root, name)
    return RunFolder(path.parent).read(path.name, Spent, checked=False) or Spent()


def write_spent(root: Path, name: str, spent: Spent) -> None:
    """Keep it."""
    path = _spent_file(root, name)
    RunFolder(path.parent).write(path.name, spent)


def _spent_file(root: Path, name: str) -> Path:
    return root / "selections" / f"{name}.spent.json"
