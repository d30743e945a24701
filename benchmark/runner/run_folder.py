"""A run's folder: which file holds what, written atomically, and believed only if it is whole."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.plan import RunSpec, folder_name
from benchmark.record import Failure, RunRecord
from clothclf.data.atomic import write_text

SPEC = "spec.json"
CONFIG = "config.yaml"
MANIFEST = "manifest.parquet"
FINDINGS = "findings.csv"
EPOCHS = "epochs.jsonl"
COST = "cost.json"
PREDICTIONS = "predictions.parquet"
CONFUSION = "confusion.png"
MODEL = "model.safetensors"
LOG = "log.txt"
RECORD = "record.json"
FAILURE = "failure.json"

_Model = TypeVar("_Model", bound=BaseModel)


class RunFolder:
    """One run's files. The record comes last: where it is valid, the run is done."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist yet."""
        self.path = path

    @classmethod
    def of(cls, root: Path, spec: RunSpec) -> RunFolder:
        """The folder of a run below the tracking folder `root`."""
        return cls(runs_root(root, spec.study) / folder_name(spec))

    def start(self, spec: RunSpec) -> None:
        """Empty the folder and write the spec."""
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        self.write(SPEC, spec)

    def write(self, name: str, value: BaseModel) -> None:
        """Write settings or results as JSON."""
        write_text(self.path / name, value.model_dump_json(indent=1) + "\n")

    def spec(self) -> RunSpec | None:
        """What the run was asked to do; None where the folder does not say."""
        return _read(self.path / SPEC, RunSpec)

    def record(self) -> RunRecord | None:
        """The record of a finished run; None where there is none, or it cannot be believed."""
        record = _read(self.path / RECORD, RunRecord)
        if record is None or record.run_id != record.spec.run_id:
            return None
        return record if all((self.path / name).is_file() for name in record.files) else None

    def failure(self) -> Failure | None:
        """Why the run failed, where it did."""
        return _read(self.path / FAILURE, Failure)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the run's process printed."""
        path = self.path / LOG
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that belongs to the result."""
        return {
            item.name: hashlib.sha256(item.read_bytes()).hexdigest()
            for item in sorted(self.path.iterdir())
            if item.is_file() and item.name not in (RECORD, FAILURE, LOG)
        }


def runs_root(root: Path, study: str) -> Path:
    """Where the run folders of a study lie."""
    return root / "runs" / study


def study_folders(root: Path, study: str) -> Iterator[RunFolder]:
    """All run folders of a study, by name."""
    parent = runs_root(root, study)
    if parent.is_dir():
        for path in sorted(parent.iterdir()):
            if (path / SPEC).is_file():
                yield RunFolder(path)


def _read(path: Path, kind: type[_Model]) -> _Model | None:
    try:
        return kind.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
