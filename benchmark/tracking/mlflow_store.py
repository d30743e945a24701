"""MLflow store of a study: one experiment per study, one MLflow run per run_id."""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config.credentials import shown_uri, take_credentials
from benchmark.errors import TrackingError
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.tracking import attempts, comparison_view, run_fields
from benchmark.tracking.artifacts import log_failure, log_results
from benchmark.tracking.connection import (
    first_line,
    print_error,
    quiet_environment,
    refused,
    require_server,
    unusable,
)
from benchmark.tracking.delete import delete_logged, require_unregistered
from benchmark.tracking.experiment import (
    MAX_NOTE,
    describe_experiment,
    open_experiment,
    search_runs,
)
from benchmark.tracking.heartbeat import HEARTBEAT_TAG, heartbeat_tags, is_dead
from benchmark.tracking.relocate import artifact_location, relocate
from benchmark.tracking.report_artifacts import (
    NO_METRICS,
    NOTE,
    is_whole,
    log_report_run,
    report_filter,
)
from benchmark.tracking.run_fields import RUN_ID_TAG
from benchmark.tracking.sqlite_store import opening
from benchmark.tracking.system_metrics import samples_of
from benchmark.tracking.trial_runs import delete_trials, log_trials
from clothclf.results import EpochResult

if TYPE_CHECKING:
    import pandas as pd

POINTS_AT_ONCE = 900
"""Maximum number of points per call. MLflow's limit of 1,000 includes parameters and tags."""
TAG_LIMIT = 5000
HEARTBEAT_S = 60.0
"""Seconds between the heartbeats of a run. They are added to other log calls where possible."""
FAILURE_TAGS = ("bench.failed_stage", "bench.failed_reason")
SAMPLE_METRIC = "system/cpu_utilization_percentage"
"""Metric that every sample of system metrics contains."""


@dataclass
class _OpenRun:
    """An MLflow run that this process writes to."""

    mlflow_id: str
    epochs: set[int] = field(default_factory=set)
    """Epochs that are already logged."""
    samples: set[int] = field(default_factory=set)
    """Times in milliseconds of the system metrics that are already logged."""
    last_beat: float = field(default_factory=time.monotonic)

    def is_to_beat(self) -> bool:
        """Return whether a heartbeat is due."""
        return time.monotonic() - self.last_beat >= HEARTBEAT_S


class MlflowStore:
    """Writes runs to one experiment. All calls are idempotent.

    Several drivers may write to one store; `attempts` describes which MLflow runs it then keeps.
    """

    def __init__(
        self, uri: str, study: str, root: Path, notify: Callable[[str], None] = print_error
    ) -> None:
        """Connect and open the study's experiment; raises TrackingError with a one-line message.

        Runs that a dead process left open are closed with the status KILLED. `notify` gets a
        message if `root` was copied or moved and artifact locations were rewritten; see `relocate`.
        """
        quiet_environment()
        from mlflow import MlflowClient

        uri = take_credentials(uri)
        self.uri = uri
        self.shown_uri = shown_uri(uri)
        self._root = root
        self._open: dict[str, _OpenRun] = {}
        # Time in ms at which each epoch was first sent. After an error a server may still store
        # the points later, even after the run has been looked up again.
        self._moments: dict[str, dict[int, int]] = {}
        self._finished: set[str] | None = None
        try:
            if uri.startswith("http"):
                require_server(uri)
            with opening(uri):
                if moved := relocate(uri, root):
                    notify(moved)
                self.client = MlflowClient(tracking_uri=uri)
                # A remote server chooses the artifact location itself.
                local = uri.startswith("sqlite:")
                own_location = artifact_location(root, study) if local else None
                self.experiment_id = open_experiment(
                    self.client, study, own_location, self.shown_uri
                )
                self._close_dead()
        except TrackingError:
            raise
        except Exception as error:  # sqlalchemy, http and MLflow errors alike
            message = refused(uri, error) or unusable(uri, first_line(error))
            raise TrackingError(message) from None

    def _close_dead(self) -> None:
        """Mark open runs of dead processes as killed, which MLflow does not do by itself."""
        dead = [
            run
            for run in self._search("attributes.status = 'RUNNING'")
            if RUN_ID_TAG in run.data.tags and is_dead(run.data.tags)
        ]
        for run in dead:
            try:
                self.client.set_terminated(run.info.run_id, "KILLED")
            except Exception:
                # Expected if another driver that starts now has deleted the run.
                if self.client.get_run(run.info.run_id).info.lifecycle_stage != "deleted":
                    raise
        for run_id in {run.data.tags[RUN_ID_TAG] for run in dead}:
            self._settle(self._find(run_id))

    def prepare_view(self) -> None:
        """Store the initial view of the study in MLflow's UI; see `comparison_view.address`."""
        comparison_view.store_view(self.client, self.experiment_id)

    def start(self, spec: RunSpec, resumed: bool = False) -> None:
        """Open an MLflow run for a run; a resumed run continues that of an earlier attempt."""
        earlier = self._find(spec.run_id)
        attempt = attempts.resumable(earlier) if resumed else None
        for old in attempts.abandoned(earlier):
            if old is not attempt:
                self._delete(old)
        if attempt is not None:
            self._reopen(spec.run_id, attempt)
            return
        tags = {**run_fields.spec_tags(spec), **heartbeat_tags()}
        name = run_fields.run_name(spec, self._root)
        created = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        self._open[spec.run_id] = _OpenRun(created.info.run_id)
        self._log(spec.run_id, params=run_fields.parameters(spec))
        dataset = run_fields.dataset_input(spec)
        self.client.log_inputs(created.info.run_id, datasets=[dataset])

    def _reopen(self, run_id: str, run: Any) -> None:
        """Continue an MLflow run, and remember what it has, so that nothing is logged twice."""
        mlflow_id = run.info.run_id
        epochs = self.client.get_metric_history(mlflow_id, "valid/loss")
        samples = self.client.get_metric_history(mlflow_id, SAMPLE_METRIC)
        self._open[run_id] = _OpenRun(
            mlflow_id, {point.step for point in epochs}, {point.timestamp for point in samples}
        )
        self.client.update_run(mlflow_id, status="RUNNING")
        for tag in FAILURE_TAGS:
            if tag in run.data.tags:
                self.client.delete_tag(mlflow_id, tag)
        self._log(run_id, tags=heartbeat_tags())

    def log_epochs(self, spec: RunSpec, results: Sequence[EpochResult]) -> None:
        """Log the metrics of epochs that are not logged yet, with the epoch number as step."""
        run = self._open.get(spec.run_id)
        if run is None:
            return
        new = [result for result in results if result.epoch not in run.epochs]
        # Reuse the timestamp: MLflow stores a point that is logged twice only once.
        now = _now_ms()
        moments = self._moments.setdefault(spec.run_id, {})
        points = [
            point
            for result in new
            for point in _points(
                run_fields.epoch_metrics(result),
                result.epoch,
                moments.setdefault(result.epoch, now),
            )
        ]
        self._log(spec.run_id, points)
        run.epochs |= {result.epoch for result in new}

    def log_samples(self, folder: RunFolder, run_id: str) -> None:
        """Log the system metrics that the open MLflow run of a run does not have yet.

        Waits for the first epoch, because MLflow's UI lists metrics in the order of logging.
        """
        run = self._open.get(run_id)
        if run is None or not run.epochs:
            return
        samples = samples_of(folder)
        new = [sample for sample in samples if sample.at_ms not in run.samples]
        points = [
            point
            for sample in new
            for point in _points(
                sample.metrics, (sample.at_ms - samples[0].at_ms) // 1000, sample.at_ms
            )
        ]
        self._log(run_id, points)
        run.samples |= {sample.at_ms for sample in new}

    def beat(self, now: bool = False) -> None:
        """Send heartbeats for the open runs that are due, or for all of them if `now`."""
        for run_id, run in self._open.items():
            if now or run.is_to_beat():
                self._log(run_id, tags=heartbeat_tags())

    def log_result(self, folder: RunFolder) -> bool:
        """Log the result of a run from its folder; return whether the store lacked it.

        Does nothing for a run that has neither record nor failure. A run that was logged in an
        earlier format is logged again.
        """
        record, failure = folder.record(), folder.failure()
        if record is not None:
            return self._log_result(record.spec, "FINISHED", lambda: self._finish(folder, record))
        if failure is not None:
            return self._log_result(failure.spec, "FAILED", lambda: self._fail(folder, failure))
        return False

    def _log_result(self, spec: RunSpec, status: str, log: Callable[[], None]) -> bool:
        if spec.run_id not in self._open:
            if spec.run_id in self._finished_before():
                return False
            runs = self._find(spec.run_id)
            if attempts.has_result(runs, status):
                self._settle(runs)
                return False
            self.start(spec, resumed=bool(runs))
        try:
            log()
            self.client.set_terminated(self._open[spec.run_id].mlflow_id, status)
        finally:
            # After an error the store may have lost the run, so it is looked up again.
            self._open.pop(spec.run_id, None)
        self._moments.pop(spec.run_id, None)
        self._settle(self._find(spec.run_id))
        return True

    def _finished_before(self) -> set[str]:
        """Return the run_ids with exactly one finished MLflow run, as of the first call.

        One search for all runs replaces one search per run in studies of thousands.
        """
        if self._finished is None:
            ended = self._search("attributes.status = 'FINISHED'")
            message = [
                run.data.tags.get(RUN_ID_TAG, "") for run in ended if attempts.is_of_this_kind(run)
            ]
            counts = Counter(message)
            self._finished = {run_id for run_id, count in counts.items() if count == 1}
        return self._finished

    def _settle(self, runs: Sequence[Any]) -> None:
        """Delete all but one of a run's MLflow runs."""
        for run in attempts.superfluous(runs):
            self._delete(run)

    def _delete(self, run: Any) -> None:
        """Delete an MLflow run and its trials."""
        delete_trials(self.client, self.experiment_id, run.info.run_id)
        self.client.delete_run(run.info.run_id)

    def _finish(self, folder: RunFolder, record: RunRecord) -> None:
        self.log_epochs(record.spec, record.training.epochs)
        self.log_samples(folder, record.run_id)
        mlflow_id = self._open[record.run_id].mlflow_id
        # Reuse the timestamp: MLflow stores a point that is logged twice only once.
        at = int(datetime.datetime.fromisoformat(record.finished_at).timestamp() * 1000)
        points = _points(run_fields.final_metrics(record), run_fields.FINAL_STEP, at)
        tags = log_results(self.client, mlflow_id, folder, record)
        self._log(record.run_id, points, tags={**run_fields.record_tags(record), **tags})
        log_trials(self.client, self.experiment_id, mlflow_id, record)

    def _fail(self, folder: RunFolder, failure: Failure) -> None:
        values = (failure.stage, failure.reason)
        self._log(failure.run_id, tags=dict(zip(FAILURE_TAGS, values, strict=True)))
        log_failure(self.client, self._open[failure.run_id].mlflow_id, folder)

    def kill(self, run_id: str) -> None:
        """Close the MLflow run of an interrupted run with the status KILLED."""
        if run_id in self._open:
            self.client.set_terminated(self._open.pop(run_id).mlflow_id, "KILLED")
            self._moments.pop(run_id, None)
            self._settle(self._find(run_id))

    def log_report(
        self,
        texts: Mapping[str, str],
        table: pd.DataFrame,
        figures: Sequence[Path],
        note: str = "",
        metrics: Mapping[str, float] = NO_METRICS,
    ) -> str:
        """Log the study's report as the only report run of the experiment; return its MLflow id.

        `texts` maps names such as `report.html` to content, `table` has one row per architecture,
        and `figures` are files. `note`, the result as text, becomes the description of run and
        experiment, and `metrics` are its figures. Does nothing if the store already has this
        report. Comparisons exclude the run by its tag `bench.kind`.
        """
        note = note[:MAX_NOTE]
        mlflow_id = log_report_run(
            *(self.client, self.experiment_id, self._reports),
            *(texts, table, figures),
            note=f"{note}\n\n{NOTE}".lstrip(),
            metrics=metrics,
        )
        if note:
            self.prepare_view()
            describe_experiment(self.client, self.experiment_id, note)
        return mlflow_id

    def has_report(self) -> bool:
        """Return whether the store has a complete report of the study, of any content."""
        return any(is_whole(run) for run in self._reports())

    def _reports(self) -> list[Any]:
        return self._search(report_filter())

    def logged(self, run_id: str) -> tuple[Any, Any]:
        """Return MLflow's client and the newest MLflow run of a run; TrackingError if none."""
        runs = self._find(run_id)
        if not runs:
            raise TrackingError(f"run {run_id} is not in {self.shown_uri}; `bench sync` logs it")
        return self.client, runs[0]

    def delete(self, run_ids: Sequence[str]) -> None:
        """Delete everything that was logged for these runs.

        Raises TrackingError, without deleting anything, if a registered model uses one of them.
        """
        runs = [run for run_id in run_ids for run in self._find(run_id)]
        require_unregistered(self.client, runs)
        for run in runs:
            delete_trials(self.client, self.experiment_id, run.info.run_id)
        delete_logged(self.client, runs, self._root)

    def _find(self, run_id: str) -> list[Any]:
        """Return the MLflow runs of a run_id, newest first."""
        return self._search(f"tags.`{RUN_ID_TAG}` = '{run_id}'")

    def _search(self, filter_string: str) -> list[Any]:
        return search_runs(self.client, self.experiment_id, filter_string)

    def _log(
        self,
        run_id: str,
        points: Sequence[Any] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log data of a run, in one call if it fits within MLflow's limits."""
        from mlflow.entities import Param, RunTag

        run = self._open[run_id]
        target = run.mlflow_id
        if run.is_to_beat():
            tags = {**heartbeat_tags(), **(tags or {})}
        for start in range(POINTS_AT_ONCE, len(points), POINTS_AT_ONCE):
            self.client.log_batch(target, points[start : start + POINTS_AT_ONCE])
        first = points[:POINTS_AT_ONCE]
        given = [Param(key, value) for key, value in (params or {}).items()]
        short = [RunTag(key, str(value)[:TAG_LIMIT]) for key, value in (tags or {}).items()]
        if first or given or short:
            self.client.log_batch(target, first, given, short)
        if tags and HEARTBEAT_TAG in tags:
            run.last_beat = time.monotonic()


def _now_ms() -> int:
    return int(time.time() * 1000)


def _points(metrics: Mapping[str, float], step: int, at_ms: int) -> list[Any]:
    """Convert metrics to MLflow entities; `at_ms` is Unix time in milliseconds."""
    from mlflow.entities import Metric

    return [Metric(key, value, at_ms, step) for key, value in metrics.items()]
