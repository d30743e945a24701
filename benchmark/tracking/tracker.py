"""Passes what runs report on to MLflow; a store that fails on the way never stops a study."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.interrupts import interrupts_postponed
from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.runner.events import EpochDone, Event
from benchmark.runner.run_folder import RunFolder
from benchmark.tracking.mlflow_store import MlflowStore


class Tracker:
    """A listener to the schedule. All it logs stands in the run folders already."""

    def __init__(self, store: MlflowStore, warn: Callable[[str], None]) -> None:
        """`warn` is told, once, that the store no longer answers."""
        self._store = store
        self._warn = warn
        self._down = False

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Fill a store that does not know the finished run."""
        self._try(lambda: self._fill(folder, record))

    def on_started(self, folder: RunFolder, spec: RunSpec) -> None:
        """Open the run, so that it can be watched."""
        self._try(lambda: self._store.start(spec))

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """Log epochs while the run goes on."""
        if isinstance(event, EpochDone):
            self._try(lambda: self._store.log_epoch(spec, event.result))

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Log final figures and files."""
        self._try(lambda: self._store.finish(folder, record))

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """Mark the run as failed, with its reason."""
        self._try(lambda: self._store.fail(folder, failure))

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Mark the run as stopped by the user."""
        self._try(lambda: self._store.kill(spec))

    def _fill(self, folder: RunFolder, record: RunRecord) -> None:
        if not self._store.has_finished(record.run_id):
            self._store.finish(folder, record)

    def _try(self, call: Callable[[], None]) -> None:
        if self._down:
            return
        try:
            with interrupts_postponed():
                call()
        except Exception as error:  # database, network, disk: none may end a study
            self._down = True
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._warn(
                f"MLflow no longer takes what runs report ({first}); all of it is kept in the run "
                "folders, and the next `bench run` logs it"
            )
