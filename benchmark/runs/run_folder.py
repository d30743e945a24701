"""Read and write the files of a run's folder, atomically and with checksums."""

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

from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.spec import RunSpec, folder_name
from benchmark.runs.upgrade import OLDEST_VERSION, RECORD_VERSION
from clothclf.data.atomic import file_sha256, write_text
from clothclf.settings import Settings

SPEC = "spec.json"
CONFIG = "config.yaml"
MANIFEST = "manifest.parquet"
FINDINGS = "findings.csv"
EPOCHS = "epochs.jsonl"
COST = "cost.json"
PREDICTIONS = "predictions.parquet"
VALID_PREDICTIONS = "predictions_valid.parquet"
CONFUSION = "confusion.png"
MODEL = "model.safetensors"
LOG = "log.txt"
RECORD = "record.json"
FAILURE = "failure.json"
STAGES = "stages.json"
CHECKPOINTS = "checkpoints"
DAMAGED = ".damaged"
"""Suffix of files that were set aside."""

CHECK = re.compile(r'"check": "[0-9a-f]*"')
"""Pattern of a file's checksum, which covers the text with an empty `check`; first match only."""

_Model = TypeVar("_Model", bound=Settings)


def stored_text(value: BaseModel) -> str:
    """Return settings or results as JSON, with a checksum if they have a field `check`."""
    text = value.model_dump_json(indent=1) + "\n"
    if not hasattr(value, "check"):
        return text
    return CHECK.sub(f'"check": "{_digest(text)}"', text, count=1)


def from_stored_text(text: str, kind: type[_Model], checked: bool = True) -> _Model | None:
    """Read what `stored_text` returned; return None if it is invalid or damaged.

    With `checked=False`, also accept text without a checksum, from before `kind` had one.
    """
    try:
        value = kind.from_json(text)
    except ValidationError:
        return None
    check = getattr(value, "check", None)
    if check is not None and (checked or CHECK.search(text)) and _digest(text) != check:
        return None
    return value


def _digest(text: str) -> str:
    """SHA-256 of a text with an empty `check`."""
    return hashlib.sha256(CHECK.sub('"check": ""', text, count=1).encode()).hexdigest()


class RunFolder:
    """The files of one run. The record is written last: a run with a valid record is done."""

    def __init__(self, path: Path) -> None:
        """Use the folder at `path`, which need not exist yet."""
        self.path = path

    @classmethod
    def of(cls, root: Path, spec: RunSpec) -> RunFolder:
        """Return the folder of a run below the tracking folder `root`."""
        return cls(runs_root(root, spec.study) / folder_name(spec))

    def start(self, spec: RunSpec, fresh: bool = False) -> bool:
        """Prepare the folder for its run; return whether the run resumes an earlier attempt.

        The results of an earlier attempt are kept, unless `fresh`. An existing record is not valid
        and is renamed.
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
        for unfinished in self.path.glob(".*"):  # temporary files of a killed process
            unfinished.unlink()
        (self.path / CHECKPOINTS).mkdir(exist_ok=True)
        return resumed

    def finish(self) -> None:
        """Delete the files that only an unfinished run needs. The record must exist."""
        (self.path / STAGES).unlink(missing_ok=True)
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    def write(self, name: str, value: BaseModel) -> None:
        """Write settings or results as JSON, with a checksum if they have a field `check`."""
        write_text(self.path / name, stored_text(value))

    def read(self, name: str, kind: type[_Model], checked: bool = True) -> _Model | None:
        """Read what `write` wrote; return None if the file is missing, invalid or damaged.

        `checked` is that of `from_stored_text`.
        """
        try:
            text = (self.path / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return from_stored_text(text, kind, checked)

    def has(self, name: str, sha256: str) -> bool:
        """Return whether a file exists and has this SHA-256."""
        try:
            return file_sha256(self.path / name) == sha256
        except OSError:
            return False

    def spec(self) -> RunSpec | None:
        """Return the spec of the run, or None if it is missing or damaged."""
        return self.read(SPEC, RunSpec)

    def record(self) -> RunRecord | None:
        """Return the record of a finished run, or None if it is missing or invalid."""
        record = self.read(RECORD, RunRecord)
        if record is None or record.run_id != record.spec.run_id:
            return None
        return record if all((self.path / name).is_file() for name in record.files) else None

    def verified_record(self) -> RunRecord | None:
        """Return the record if every result file has its recorded hash; reads all of the files."""
        record = self.record()
        if record is None:
            return None
        return record if all(self.has(name, sha) for name, sha in record.files.items()) else None

    def has_ended(self) -> bool:
        """Return whether a record exists, even a damaged one."""
        return (self.path / RECORD).exists()

    def invalid_reason(self) -> str:
        """Return why an existing record is invalid; empty if it is valid or missing."""
        if not self.has_ended() or self.record() is not None:
            return ""
        with contextlib.suppress(OSError, ValueError):
            version = json.loads((self.path / RECORD).read_text("utf-8")).get("version")
            if isinstance(version, int) and not OLDEST_VERSION <= version <= RECORD_VERSION:
                return (
                    f"its record has format {version}, and this bench reads {OLDEST_VERSION} to "
                    f"{RECORD_VERSION}"
                )
        record = self.read(RECORD, RunRecord)
        if record is not None and record.run_id != record.spec.run_id:
            return "another version of bench wrote it, or its settings have changed"
        return "its record or a result file is damaged"

    def failure(self) -> Failure | None:
        """Return the failure of the run, or None if it has not failed."""
        return self.read(FAILURE, Failure)

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines that the run's process printed."""
        path = self.path / LOG
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def results(self) -> list[str]:
        """Return the names of the result files, without the record."""
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
        """Return the SHA-256 of every result file by name."""
        return {name: file_sha256(self.path / name) for name in self.results()}


def runs_root(root: Path, study: str) -> Path:
    """Return the parent of a study's run folders."""
    return root / "runs" / study


def study_folders(root: Path, study: str) -> Iterator[RunFolder]:
    """Iterate over the run folders of a study in the order of their names."""
    parent = runs_root(root, study)
    if parent.is_dir():
        for path in sorted(parent.iterdir()):
            if (path / SPEC).is_file():
                yield RunFolder(path)
