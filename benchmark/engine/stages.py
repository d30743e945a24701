"""Cached results of a run's finished stages, so that a resumed run does not repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from benchmark.runs.record import Stage
from benchmark.runs.run_folder import STAGES, RunFolder
from clothclf.data.atomic import file_sha256
from clothclf.settings import Settings

_Result = TypeVar("_Result")


class StageResult(Settings):
    """Result and files of a stage."""

    value: str
    """Result as JSON."""
    files: dict[str, str]
    """SHA-256 of each file by name."""


class StageResults(Settings):
    """Results of all finished stages of a run."""

    version: int = 1
    check: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Duration of each stage in seconds, over all attempts."""
    stages: dict[Stage, StageResult] = Field(default_factory=dict)


class StageCache:
    """Reads and writes the stage results of one run; damaged results count as missing."""

    def __init__(self, folder: RunFolder) -> None:
        """Read the results of an earlier attempt, if any."""
        self._folder = folder
        self._results = folder.read(STAGES, StageResults) or StageResults()

    def seconds(self) -> dict[str, float]:
        """Return the duration of each finished stage in seconds."""
        return self._results.seconds

    def result(self, stage: Stage, kind: TypeAdapter[_Result]) -> _Result | None:
        """Return the cached result of a stage, or None if the stage has to be executed."""
        entry = self._results.stages.get(stage)
        if entry is None or not self._has(entry.files):
            return None
        try:
            return kind.validate_json(entry.value)
        except ValidationError:
            return None

    def store(
        self,
        stage: Stage,
        kind: TypeAdapter[_Result],
        value: _Result,
        seconds: dict[str, float],
        files: Sequence[str] = (),
    ) -> None:
        """Store the result of a stage, its files, and the durations of stages in seconds."""
        hashes = {name: file_sha256(self._folder.path / name) for name in files}
        text = kind.dump_json(value).decode()
        self._results = StageResults(
            seconds={**self._results.seconds, **seconds},
            stages={**self._results.stages, stage: StageResult(value=text, files=hashes)},
        )
        self._folder.write(STAGES, self._results)

    def _has(self, files: dict[str, str]) -> bool:
        return all(self._folder.has(name, sha256) for name, sha256 in files.items())
