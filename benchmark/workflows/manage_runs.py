"""List, find and delete the runs of a study, based on its run folders."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import filelock

from benchmark.config.study import StudySettings
from benchmark.errors import StoreError, TrackingError
from benchmark.runs import run_folder as files
from benchmark.runs.root import open_store, tracking_uri
from benchmark.runs.run_folder import RunFolder, study_folders
from benchmark.runs.setting_differences import differing_settings
from clothclf.errors import did_you_mean

State = Literal["finished", "failed", "running", "unfinished", "unreadable"]
RUN_ID_LENGTH = 12
MAX_LISTED = 10


@dataclass(frozen=True)
class ListedRun:
    """A run in any state."""

    folder: RunFolder
    name: str
    run_id: str
    state: State
    """State of the run; `unreadable` if its settings or its record cannot be read."""
    accuracy: float | None
    """Test accuracy, 0 to 1; None unless the run is finished."""
    at: str
    """Time of its end, or of its start if it has not ended; UTC, ISO 8601."""
    settings: str
    """Settings that differ between runs of the study, such as `learning_rate=0.01`."""

    @property
    def title(self) -> str:
        """Name, run_id and settings."""
        return f"{self.name} ({', '.join(filter(None, (self.run_id, self.settings)))})"


def list_runs(study: StudySettings) -> list[ListedRun]:
    """List all runs of a study, with any settings, sorted by name and date."""
    folders = list(study_folders(study.tracking.folder.absolute(), study.study))
    specs = {folder.path: spec for folder in folders if (spec := folder.spec()) is not None}
    apart = dict(zip(specs, differing_settings(list(specs.values())), strict=True))
    listed = []
    for folder in folders:
        spec = specs.get(folder.path)
        state, accuracy, at = _end(folder)
        listed.append(
            ListedRun(
                folder=folder,
                name=spec.name if spec else folder.path.name,
                run_id=spec.run_id if spec else folder.path.name[-RUN_ID_LENGTH:],
                state=state if spec else "unreadable",
                accuracy=accuracy,
                at=at,
                settings=apart.get(folder.path, ""),
            )
        )
    return sorted(listed, key=lambda run: (run.name, run.at, run.run_id))


def _end(folder: RunFolder) -> tuple[State, float | None, str]:
    """State, test accuracy and date of a run."""
    record = folder.record()
    if record is not None:
        return "finished", record.test.accuracy, record.finished_at
    failure = folder.failure()
    if failure is not None:
        return "failed", None, failure.at
    started = (folder.path / files.SPEC).stat().st_mtime
    at = datetime.datetime.fromtimestamp(started, datetime.timezone.utc).isoformat()
    if folder.has_ended():
        return "unreadable", None, at
    try:
        with locked([folder]):
            return "unfinished", None, at
    except StoreError:
        return "running", None, at


def find_listed(requested: str, listed: Sequence[ListedRun], study: str) -> ListedRun:
    """Find a run by name, run_id (or a prefix of it) or folder name; raises StoreError.

    Unlike in other commands, an ambiguous name is always an error, because deleting is final.
    """
    matching = [run for run in listed if requested in (run.name, run.run_id, run.folder.path.name)]
    matching = matching or [run for run in listed if requested and run.run_id.startswith(requested)]
    if not matching:
        names = sorted({name for run in listed for name in (run.name, run.run_id)})
        hint = did_you_mean(requested, names) or "; `bench runs list` lists its runs"
        raise StoreError(f"study {study!r} has no run {requested[:80]!r}{hint}")
    if len(matching) > 1:
        titles = ", ".join(run.title for run in matching[:MAX_LISTED])
        more = f" and {len(matching) - MAX_LISTED} more" if len(matching) > MAX_LISTED else ""
        raise StoreError(
            f"{requested!r} matches {len(matching)} runs of study {study!r}: {titles}{more}; "
            "give run_ids"
        )
    return matching[0]


def delete_runs(study: StudySettings, runs: Sequence[ListedRun]) -> None:
    """Delete runs with their artifacts from MLflow, then their folders.

    Raises StoreError if a run is running, and TrackingError if MLflow is not reachable or its model
    registry needs a run; nothing is deleted then. After an interruption, run the same command again
    to delete the rest, or `bench sync` to log runs whose folders remain.
    """
    from benchmark.tracking.connection import first_line
    from benchmark.tracking.mlflow_store import MlflowStore
    from benchmark.tracking.system_metrics import forget_samples

    root = open_store(study)
    with locked([run.folder for run in runs]):
        store = MlflowStore(tracking_uri(study), study.study, root)
        try:
            store.delete([run.run_id for run in runs])
        except TrackingError:
            raise
        except Exception as error:  # database, network or MLflow errors
            raise TrackingError(
                f"{store.shown_uri}: MLflow failed: {first_line(error)}; no run folder was "
                "deleted; `bench sync` logs the runs again"
            ) from None
        for run in runs:
            forget_samples(run.folder)
            # Delete the spec last: if interrupted, the folder is still listed as a run.
            for path in sorted(run.folder.path.iterdir(), key=lambda path: path.name == files.SPEC):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            run.folder.path.rmdir()


@contextlib.contextmanager
def locked(folders: Sequence[RunFolder]) -> Iterator[None]:
    """Lock run folders within the context; raises StoreError if a run is in progress."""
    with contextlib.ExitStack() as locks:
        for folder in folders:
            lock_folder = folder.path.parent / ".locks"
            lock_folder.mkdir(exist_ok=True)
            lock = filelock.FileLock(lock_folder / f"{folder.path.name}.lock", timeout=0)
            try:
                locks.enter_context(lock)
            except filelock.Timeout:
                raise StoreError(
                    f"{folder.path}: is running in another process; stop that process first"
                ) from None
        yield
