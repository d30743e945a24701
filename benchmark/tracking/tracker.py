"""Log the events of runs to MLflow; errors of the store never stop a study."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from benchmark.runs.events import EpochDone, Event
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.tracking.connection import first_line
from benchmark.tracking.epoch_queue import Curves
from benchmark.tracking.mlflow_store import MlflowStore
from benchmark.tracking.system_metrics import SystemWatch, forget_samples
from clothclf.results import EpochResult

FIRST_PAUSE_S = 5.0
MAX_PAUSE_S = 300.0


class Tracker:
    """Listener that logs to MLflow. Everything it logs is also in the run folders.

    If the store does not respond, the tracker retries with exponential backoff and then logs what
    the store has missed.
    """

    def __init__(self, store: MlflowStore, warn: Callable[[str], None]) -> None:
        """Log to `store`; call `warn` when it stops responding and when it responds again."""
        self.store = store
        self._warn = warn
        self._pause_s = 0.0
        self._ask_again = 0.0
        self._curves = Curves()
        self._owed: dict[str, RunFolder] = {}
        self._watches: dict[str, tuple[RunFolder, SystemWatch]] = {}

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        """Log the finished run if the store does not have it."""
        self._log_result(folder, record.run_id)

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        """Log the failed run if the store does not have it."""
        self._log_result(folder, failure.run_id)

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        """Do nothing: the other process logs the run."""

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        """Open the MLflow run and start sampling system metrics."""
        if not resumed:
            forget_samples(folder)
        self._watches[spec.run_id] = (folder, SystemWatch(folder))
        self._try(lambda: self.store.start(spec, resumed))

    def on_event(self, spec: RunSpec, event: Event) -> None:
        """Log epochs while the run executes."""
        if isinstance(event, EpochDone):
            self._curves.add(spec, event.result)
            self._log_curves()

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        """Log final metrics and files."""
        self._log_result(folder, record.run_id)

    def on_failed(self, folder: RunFolder, failure: Failure) -> None:
        """Mark the run as failed and log the reason."""
        self._log_result(folder, failure.run_id)

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        """Mark the run as killed."""
        self._watches.pop(spec.run_id, None)
        for run, results in self._curves.forget(spec.run_id):
            self._log_epochs(run, results)
        self._try(lambda: self.store.kill(spec.run_id))

    def on_tick(self) -> None:
        """Sample system metrics, send heartbeats, and retry a store that did not respond."""
        self._sample()
        self._log_curves()
        # After an error, the heartbeat tests whether the store responds again.
        self._try(functools.partial(self.store.beat, now=bool(self._pause_s)))

    def has_logged_all(self) -> bool:
        """Return whether the store has the result of every run that has ended."""
        return not self._owed

    def _log_curves(self) -> None:
        """Log the epochs of the runs that are due."""
        for spec, results in self._curves.due():
            started = time.monotonic()
            self._log_epochs(spec, results)
            self._curves.took(spec, time.monotonic() - started)

    def _log_epochs(self, spec: RunSpec, results: Sequence[EpochResult]) -> None:
        self._try(lambda: self.store.log_epochs(spec, results))

    def _sample(self) -> None:
        """Sample and log system metrics of the runs that are due."""
        for run_id, (folder, watch) in self._watches.items():
            if watch.is_due() and watch.sample():
                self._try(functools.partial(self.store.log_samples, folder, run_id))

    def _log_result(self, folder: RunFolder, run_id: str) -> None:
        """Log the result of a run, now or when the store responds again."""
        self._watches.pop(run_id, None)
        self._curves.forget(run_id)  # the record contains all epochs
        self._owed[run_id] = folder
        self._try(lambda: None)

    def _try(self, call: Callable[[], None]) -> None:
        if time.monotonic() < self._ask_again:
            return
        try:
            call()
            for run_id, folder in list(self._owed.items()):
                self.store.log_result(folder)
                del self._owed[run_id]
        except Exception as error:  # database, network and disk errors must not end a study
            if not self._pause_s:
                self._warn(
                    f"MLflow is not available ({first_line(error)}); results are saved in the run "
                    "folders and logged once it responds, or later with `bench sync`"
                )
            self._pause_s = min(MAX_PAUSE_S, 2 * self._pause_s or FIRST_PAUSE_S)
            self._ask_again = time.monotonic() + self._pause_s
            return
        if self._pause_s:
            self._warn("MLflow responds again")
        self._pause_s = self._ask_again = 0.0
