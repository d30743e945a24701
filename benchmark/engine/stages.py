"""Results of a run's finished stages, kept so that a run that was stopped does not repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from benchmark.runs.folder import STAGES, RunFolder
from benchmark.runs.record import Stage
from clothclf.data.atomic import file_sha256
from clothclf.settings import Settings

_Result = TypeVar("_Result")


class StageResult(Settings):
    """What a stage found, and the files it made."""

    value: str
    """As JSON."""
    files: dict[str, str]
    """SHA-256 by name."""


class StageResults(Settings):
    """All finished stages of a run."""

    version: int = 1
    check: str = ""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Spent on each stage so far."""
    stages: dict[Stage, StageResult] = Field(default_factory=dict)


class StageCache:
    """Reads and writes the results of one run; what is damaged counts as not done."""

    def __init__(self, folder: RunFolder) -> None:
        """Read what an earlier process left."""
        self._folder = folder
        self._kept = folder.read(STAGES, StageResults) or StageResults()

    def seconds(self) -> dict[str, float]:
        """How long each finished stage took."""
        return self._kept.seconds

    def result(self, stage: Stage, kind: TypeAdapter[_Result]) -> _Result | None:
        """What a stage found; None where it is to be carried out."""
        kept = self._kept.stages.get(stage)
        if kept is None or not self._has(kept.files):
            return None
        try:
            return kind.validate_json(kept.value)
        except ValidationError:
            return None

    def keep(
        self,
        stage: Stage,
        kind: TypeAdapter[_Result],
        value: _Result,
        seconds: dict[str, float],
        files: Sequence[str] = (),
    ) -> None:
        """Write down that a stage is finished, and how long this one and others took."""
        hashes = {name: file_sha256(self._folder.path / name) for name in files}
        text = kind.dump_json(value).decode()
        self._kept = StageResults(
            seconds={**self._kept.seconds, **seconds},
            stages={**self._kept.stages, stage: StageResult(value=text, files=hashes)},
        )
        self._folder.write(STAGES, self._kept)

    def _has(self, files: dict[str, str]) -> bool:
        return all(self._folder.has(name, sha256) for name, sha256 in files.items())
