"""Find the run that a user names by folder, name, run_id or a prefix of the run_id."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs import run_folder as files
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, study_folders
from benchmark.runs.setting_differences import comparable_settings, differing_settings
from benchmark.runs.spec import RunSpec
from clothclf.errors import did_you_mean
from clothclf.settings.training import TeacherSettings

MAX_LISTED = 10
MAX_PATH = 4000
"""Maximum length of a path in characters; file systems also limit each part to 255 bytes."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and its folder."""

    folder: RunFolder
    record: RunRecord

    @property
    def name(self) -> str:
        """Display name: the name of the run and its full run_id, as in `vgg16-s0 (0f3a…)`."""
        return f"{self.record.spec.name} ({self.record.run_id})"

    def has(self, name: str) -> bool:
        """Return whether a result file exists and is unchanged since the run wrote it."""
        expected = self.record.files.get(name)
        return expected is not None and self.folder.has(name, expected)

    def require_model(self) -> None:
        """Raise ReportError if the saved model is missing or has changed."""
        if files.MODEL not in self.record.files:
            raise ReportError(
                f"{self.folder.path}: the run was merged from a pack, which holds no model; "
                "`bench run --force` trains it again"
            )
        if not self.has(files.MODEL):
            raise ReportError(
                f"{self.folder.path / files.MODEL}: is missing or has changed; `bench run` "
                "repeats the run"
            )


def find_run(requested: str, study: Callable[[], StudySettings]) -> FinishedRun:
    """Find a finished run by the path of its folder, else among the runs of the study.

    `study` is only called if `requested` is not a path. Runs of the study match by run_id, name,
    folder name or a prefix of the run_id. If several match, the one that the study's settings would
    produce is returned. Raises ReportError if no run matches, if several do, or if the run is not
    finished.
    """
    parts = requested.split("/")
    if len(requested) > MAX_PATH or any(len(os.fsencode(part)) > 255 for part in parts):
        raise ReportError(
            f"{requested[:80]}…: {len(requested):,} characters are too long for the name of a run"
        )
    path = Path(requested)
    if (path / files.SPEC).is_file():
        return _finished(RunFolder(path))
    if path.is_dir():
        raise ReportError(f"{requested}: is not a run folder; it has no {files.SPEC}")
    settings = study()
    root = settings.tracking.folder.absolute()
    known = [
        (folder, spec)
        for folder in study_folders(root, settings.study)
        if (spec := folder.spec()) is not None
    ]
    matching = _matching(requested, known)
    if not matching:
        names = sorted({name for item in known for name in (item[1].name, item[1].run_id)})
        hint = did_you_mean(requested, names) or (_listed(known) if known else "; it has no runs")
        raise ReportError(f"study {settings.study!r} has no run {requested!r} in {root}{hint}")
    if len(matching) > 1:
        matching = _matching_settings(matching, settings)
    if len(matching) > 1:
        raise ReportError(
            f"{requested!r} matches {len(matching)} runs of study {settings.study!r}"
            f"{_listed(matching)}; give a run_id or a prefix of it, or the settings of one of "
            "them with -c and --set"
        )
    return _finished(matching[0][0])


def _matching_settings(
    runs: Sequence[tuple[RunFolder, RunSpec]], study: StudySettings
) -> list[tuple[RunFolder, RunSpec]]:
    """Return the runs that the study's settings would produce, or all if there are none.

    The location of the data and the requested weights only decide between runs that are otherwise
    comparable.
    """
    expected = comparable_settings(with_teachers_by_id(study))
    same = [item for item in runs if comparable_settings(item[1]) == expected]
    for attribute in ("model", "data"):
        value = getattr(study, attribute)
        same = [item for item in same if getattr(item[1], attribute) == value] or same
    return same or list(runs)


def _matching(
    requested: str, known: Sequence[tuple[RunFolder, RunSpec]]
) -> list[tuple[RunFolder, RunSpec]]:
    """Return the runs that match in full, else those whose run_id starts with `requested`."""
    named = [
        item for item in known if requested in (item[1].run_id, item[1].name, item[0].path.name)
    ]
    return named or [item for item in known if requested and item[1].run_id.startswith(requested)]


def _listed(runs: Sequence[tuple[RunFolder, RunSpec]]) -> str:
    """List runs by name and run_id, with the settings in which runs of the same name differ."""
    shown = runs[:MAX_LISTED]
    one_name = len({spec.name for _, spec in runs}) == 1
    apart = differing_settings([spec for _, spec in shown]) if one_name else [""] * len(shown)
    names = [
        f"{spec.name} ({', '.join(filter(None, (spec.run_id, settings)))})"
        for (_, spec), settings in zip(shown, apart, strict=True)
    ]
    more = f" and {len(runs) - MAX_LISTED} more" if len(runs) > MAX_LISTED else ""
    return f": {', '.join(names)}{more}"


def find_same_run(root: Path, spec: RunSpec) -> FinishedRun | None:
    """Find the finished run with the run_id of `spec` in its study, else in any other.

    Runs with the same run_id have the same results. Their study's name is not part of it.
    """
    own = RunFolder.of(root, spec).path
    elsewhere = sorted((root / "runs").glob(f"*/{own.name}"))
    for path in dict.fromkeys([own, *elsewhere]):
        folder = RunFolder(path)
        record = folder.record()
        if record is not None and record.run_id == spec.run_id:
            return FinishedRun(folder, record)
    return None


def open_run(path: Path) -> FinishedRun:
    """Open the run in a folder; raises ReportError if it is not finished."""
    return _finished(RunFolder(path))


def _finished(folder: RunFolder) -> FinishedRun:
    record = folder.record()
    if record is not None:
        return FinishedRun(folder, record)
    failure = folder.failure()
    if failure is not None:
        raise ReportError(
            f"{folder.path}: the run failed in {failure.stage}: {failure.reason}; `bench run "
            "--retry-failed` retries it"
        )
    if folder.has_ended():
        raise ReportError(
            f"{folder.path}: the record is damaged or from another version of bench; `bench run` "
            "repeats the run"
        )
    raise ReportError(f"{folder.path}: the run is unfinished; `bench run` resumes it")


def with_teachers_by_id(study: StudySettings) -> StudySettings:
    """Return the study with its teachers replaced by their run_ids; missing ones stay as named."""
    return with_teachers(
        study, [_run_id(requested, study) for requested in study.train.teacher.runs]
    )


def with_teachers(study: StudySettings, run_ids: Sequence[str]) -> StudySettings:
    """Return the study with these run_ids as teachers, so that a run's identity is unambiguous."""
    teacher = study.train.teacher.model_copy(update={"runs": tuple(run_ids)})
    train = study.train.model_copy(update={"teacher": teacher})
    return study.model_copy(update={"train": train})


def without_teacher(study: StudySettings) -> StudySettings:
    """Return the study without a teacher, to choose between runs that match a teacher's name."""
    train = study.train.model_copy(update={"teacher": TeacherSettings()})
    return study.model_copy(update={"train": train})


def _run_id(requested: str, study: StudySettings) -> str:
    try:
        return find_run(requested, lambda: without_teacher(study)).record.run_id
    except ReportError:
        return requested
