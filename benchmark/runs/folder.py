"""A run's folder: which file holds what, written atomically, and believed only if it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.runs.record import RECORD_VERSION, Failure, RunRecord
from benchmark.runs.spec import RunSpec, folder_name
from clothclf.data.atomic import file_sha256, write_text
from clothclf.settings import Settings

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
STAGES = "stages.json"
CHECKPOINTS = "checkpoints"
DAMAGED = ".damaged"
"""Ending of what was set aside."""

CHECK = re.compile(r'"check": "[0-9a-f]*"')
"""The checksum within a file's text, over the text without it; it is the first of that name."""

_Model = TypeVar("_Model", bound=Settings)


class RunFolder:
    """One run's files. The record comes last: where it is valid, the run is done."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist yet."""
        self.path = path

    @classmethod
    def of(cls, root: Path, spec: RunSpec) -> RunFolder:
        """The folder of a run below the tracking folder `root`."""
        return cls(runs_root(root, spec.study) / folder_name(spec))

    def start(self, spec: RunSpec, fresh: bool = False) -> bool:
        """Make the folder ready for its run; return whether it goes on with an earlier attempt.

        What an earlier attempt finished stays, unless `fresh`. A record that is there is not to be
        believed, and is set aside.
        """
        resumed = not fresh and self.spec() == spec
        if not resumed:
            if self.path.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True)
            self.write(SPEC, spec)
        for name in (RECORD, FAILURE):
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).replace(self.path / f"{name}{DAMAGED}")
        for unfinished in self.path.glob(".*"):  # a killed process's
            unfinished.unlink()
        (self.path / CHECKPOINTS).mkdir(exist_ok=True)
        return resumed

    def finish(self) -> None:
        """Delete what only an unfinished run needs; the record is there."""
        (self.path / STAGES).unlink(missing_ok=True)
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def write(self, name: str, value: BaseModel) -> None:
        """Write settings or results as JSON; one with a `check` gets its checksum there."""
        text = value.model_dump_json(indent=1) + "\n"
        if hasattr(value, "check"):
            bare = CHECK.sub('"check": ""', text, count=1)
            digest = hashlib.sha256(bare.encode()).hexdigest()
            text = CHECK.sub(f'"check": "{digest}"', text, count=1)
        write_text(self.path / name, text)

    def read(self, name: str, kind: type[_Model], checked: bool = True) -> _Model | None:
        """The inverse of `write`; None where there is no such file, or it is not as written.

        Unless `checked`, a file that was written before its kind had a checksum is read as well.
        """
        try:
            text = (self.path / name).read_text("utf-8")
            value = kind.from_json(text)
        except (OSError, UnicodeDecodeError, ValidationError):
            return None
        told = getattr(value, "check", None)
        if told is not None and (checked or CHECK.search(text)):
            bare = CHECK.sub('"check": ""', text, count=1)
            if hashlib.sha256(bare.encode()).hexdigest() != told:
                return None
        return value

    def has(self, name: str, sha256: str) -> bool:
        """Whether a file is there as it was written."""
        try:
            return file_sha256(self.path / name) == sha256
        except OSError:
            return False

    def spec(self) -> RunSpec | None:
        """What the run was asked to do; None where the folder does not say."""
        return self.read(SPEC, RunSpec)

    def record(self) -> RunRecord | None:
        """The record of a finished run; None where there is none, or it cannot be believed."""
        record = self.read(RECORD, RunRecord)
        if record is None or record.run_id != record.spec.run_id:
            return None
        return record if all((self.path / name).is_file() for name in record.files) else None

    def verified_record(self) -> RunRecord | None:
        """The record, if every file beside it is still what it says; reads them all."""
        record = self.record()
        if record is None:
            return None
        return record if all(self.has(name, sha) for name, sha in record.files.items()) else None

    def has_ended(self) -> bool:
        """Whether there is a record, be it damaged."""
        return (self.path / RECORD).exists()

    def why_not_believed(self) -> str:
        """Why a record that is there counts for nothing, in words; else empty."""
        if not self.has_ended() or self.record() is not None:
            return ""
        with contextlib.suppress(OSError, ValueError):
            version = json.loads((self.path / RECORD).read_text("utf-8")).get("version")
            if isinstance(version, int) and version != RECORD_VERSION:
                return f"its record has format {version}, and this bench reads {RECORD_VERSION}"
        record = self.read(RECORD, RunRecord)
        if record is not None and record.run_id != record.spec.run_id:
            return "another version of bench made it, or its settings were changed since"
        return "its record, or a file beside it, is damaged"

    def failure(self) -> Failure | None:
        """Why the run failed, where it did."""
        return self.read(FAILURE, Failure)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the run's process printed."""
        path = self.path / LOG
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def results(self) -> list[str]:
        """Names of the files that belong to the result, but for the record."""
        passing = {RECORD, FAILURE, LOG, STAGES}
        return sorted(
            item.name
            for item in self.path.iterdir()
            if item.is_file()
            and item.name not in passing
            and item.suffix != DAMAGED
            and not item.name.startswith(".")
        )

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that belongs to the result."""
        return {name: file_sha256(self.path / name) for name in self.results()}


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
