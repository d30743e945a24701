"""Find the run that a user names: by its folder, its run_id or its beginning, or its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs import folder as files
from benchmark.runs.folder import RunFolder, study_folders
from benchmark.runs.record import RunRecord
from benchmark.runs.settings import comparable_settings, differing_settings
from benchmark.runs.spec import RunSpec
from clothclf.errors import did_you_mean
from clothclf.settings.training import TeacherSettings

MAX_LISTED = 10
MAX_PATH = 4000
"""Characters; systems do not take more, nor 256 in one part of it."""


@dataclass(frozen=True)
class FoundRun:
    """A finished run and where its files lie."""

    folder: RunFolder
    record: RunRecord

    @property
    def name(self) -> str:
        """For people: `vgg16-s0 (0f3a…)`, with its run_id in full."""
        return f"{self.record.spec.name} ({self.record.run_id})"

    def has(self, name: str) -> bool:
        """Whether a file of its result is there as the run wrote it."""
        expected = self.record.files.get(name)
        return expected is not None and self.folder.has(name, expected)

    def require_model(self) -> None:
        """Raise ReportError where its model is not as the run saved it."""
        if not self.has(files.MODEL):
            raise ReportError(
                f"{self.folder.path / files.MODEL}: is not as the run saved it; "
                "`bench run` does the run again"
            )


def find_run(asked: str, study: Callable[[], StudySettings]) -> FoundRun:
    """Find a finished run: a run folder's path, else a run of the study.

    `study` is called where a study is needed; its runs are known by run_id, name and the name of
    their folder, and by the beginning of a run_id. Of several runs of one name, the one that the
    study's settings would make is meant. Raises ReportError where there is no such run, where
    there are several, and where it is not finished.
    """
    if len(asked) > MAX_PATH or any(len(part.encode()) > 255 for part in asked.split("/")):
        raise ReportError(f"{asked[:80]}…: no run has a name of {len(asked):,} characters")
    path = Path(asked)
    if (path / files.SPEC).is_file():
        return _finished(RunFolder(path))
    if path.is_dir():
        raise ReportError(f"{asked}: is no run's folder: it has no {files.SPEC}")
    settings = study()
    root = settings.tracking.folder.absolute()
    known = [
        (folder, spec)
        for folder in study_folders(root, settings.study)
        if (spec := folder.spec()) is not None
    ]
    found = _matching(asked, known)
    if not found:
        names = sorted({name for item in known for name in (item[1].name, item[1].run_id)})
        hint = did_you_mean(asked, names) or (_listed(known) if known else "; it has none at all")
        raise ReportError(f"study {settings.study!r} has no run {asked!r} in {root}{hint}")
    if len(found) > 1:
        found = _as_settings_say(found, settings)
    if len(found) > 1:
        raise ReportError(
            f"{asked!r} may be any of {len(found)} runs of study {settings.study!r}"
            f"{_listed(found)}; give a run_id, or the beginning of one, or with -c and --set the "
            "settings of one of them"
        )
    return _finished(found[0][0])


def _as_settings_say(
    found: Sequence[tuple[RunFolder, RunSpec]], study: StudySettings
) -> list[tuple[RunFolder, RunSpec]]:
    """Those of the runs that the study's settings would make; all if there is no such run.

    Where the data lie, and which weights were asked for, decide only between runs that could stand
    in one table.
    """
    wanted = comparable_settings(with_teachers_by_id(study))
    same = [item for item in found if comparable_settings(item[1]) == wanted]
    for attribute in ("model", "data"):
        value = getattr(study, attribute)
        same = [item for item in same if getattr(item[1], attribute) == value] or same
    return same or list(found)


def _matching(
    asked: str, known: Sequence[tuple[RunFolder, RunSpec]]
) -> list[tuple[RunFolder, RunSpec]]:
    """What is named in full goes before what begins so."""
    named = [item for item in known if asked in (item[1].run_id, item[1].name, item[0].path.name)]
    return named or [item for item in known if asked and item[1].run_id.startswith(asked)]


def _listed(found: Sequence[tuple[RunFolder, RunSpec]]) -> str:
    """Runs by name and run_id, with the settings in which runs of the same name differ."""
    shown = found[:MAX_LISTED]
    one_name = len({spec.name for _, spec in found}) == 1
    apart = differing_settings([spec for _, spec in shown]) if one_name else [""] * len(shown)
    names = [
        f"{spec.name} ({', '.join(filter(None, (spec.run_id, settings)))})"
        for (_, spec), settings in zip(shown, apart, strict=True)
    ]
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return f": {', '.join(names)}{more}"


def _finished(folder: RunFolder) -> FoundRun:
    record = folder.record()
    if record is not None:
        return FoundRun(folder, record)
    failure = folder.failure()
    if failure is not None:
        raise ReportError(
            f"{folder.path}: the run failed in {failure.stage}: {failure.reason}; "
            "`bench run --retry-failed` tries again"
        )
    if folder.has_ended():
        raise ReportError(
            f"{folder.path}: the run's record is damaged, or another version of bench wrote it; "
            "`bench run` does the run again"
        )
    raise ReportError(f"{folder.path}: the run is unfinished; `bench run` goes on with it")


def with_teachers_by_id(study: StudySettings) -> StudySettings:
    """The study with its teachers as its runs name them; one that is gone stays as it was named."""
    return with_teachers(study, [_run_id(asked, study) for asked in study.train.teacher.runs])


def with_teachers(study: StudySettings, run_ids: Sequence[str]) -> StudySettings:
    """The study with these names for its teachers: a run has one identity, whatever they were."""
    teacher = study.train.teacher.model_copy(update={"runs": tuple(run_ids)})
    train = study.train.model_copy(update={"teacher": teacher})
    return study.model_copy(update={"train": train})


def without_teacher(study: StudySettings) -> StudySettings:
    """The study without a teacher: its settings choose between runs of a teacher's name."""
    train = study.train.model_copy(update={"teacher": TeacherSettings()})
    return study.model_copy(update={"train": train})


def _run_id(asked: str, study: StudySettings) -> str:
    try:
        return find_run(asked, lambda: without_teacher(study)).record.run_id
    except ReportError:
        return asked
