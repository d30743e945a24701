"""MLflow as bench uses it: one experiment for a study, one flat run for a run, found by its tag."""

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
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import Failure, RunRecord
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
from benchmark.tracking.experiment import open_experiment
from benchmark.tracking.heartbeat import HEARTBEAT_TAG, heartbeat_tags, is_dead
from benchmark.tracking.relocate import artifact_location, relocate
from benchmark.tracking.report_artifacts import is_whole, log_report_run, report_filter
from benchmark.tracking.run_fields import RUN_ID_TAG
from benchmark.tracking.sqlite_store import opening
from benchmark.tracking.system_metrics import samples_of
from clothclf.results import EpochResult

if TYPE_CHECKING:
    import pandas as pd

POINTS_AT_ONCE = 900
"""MLflow takes 1,000 entities in a call: these, and some parameters and tags."""
TAG_LIMIT = 5000
HEARTBEAT_S = 60.0
"""Between two signs of life of a run; what is logged of it carries one, so that few go alone."""
FAILURE_TAGS = ("bench.failed_stage", "bench.failed_reason")
SAMPLE_METRIC = "system/cpu_utilization_percentage"
"""That every sample of the machine has."""


@dataclass
class _OpenRun:
    """A run that this process writes to."""

    mlflow_id: str
    epochs: set[int] = field(default_factory=set)
    """That are there."""
    samples: set[int] = field(default_factory=set)
    """Moments of the samples of the machine that are there."""
    last_beat: float = field(default_factory=time.monotonic)

    def is_to_beat(self) -> bool:
        """Whether it is time for a sign of life."""
        return time.monotonic() - self.last_beat >= HEARTBEAT_S


class MlflowStore:
    """Writes runs to one experiment; every call may be repeated without doubling anything.

    Several drivers may write to one store; see `attempts` for what it then shows.
    """

    def __init__(
        self, uri: str, study: str, root: Path, notify: Callable[[str], None] = print_error
    ) -> None:
        """Connect and open the study's experiment; raises TrackingError in one sentence.

        Runs that a process left open when it died are closed as killed. `notify` gets a sentence
        if `root` was copied or moved and artifact locations were rewritten; see `relocate`.
        """
        quiet_environment()
        from mlflow import MlflowClient

        uri = take_credentials(uri)
        self.uri = uri
        self.shown_uri = shown_uri(uri)
        self._root = root
        self._open: dict[str, _OpenRun] = {}
        # When a run's epochs were first sent, in ms. A server that fails may take in later what
        # it was asked for, also when the run has been looked for anew.
        self._moments: dict[str, dict[int, int]] = {}
        self._finished: set[str] | None = None
        try:
            if uri.startswith("http"):
                require_server(uri)
            with opening(uri):
                if moved := relocate(uri, root):
                    notify(moved)
                self.client = MlflowClient(tracking_uri=uri)
                # A remote server chooses its own place for artifacts.
                local = uri.startswith("sqlite:")
                place = artifact_location(root, study) if local else None
                self.experiment_id = open_experiment(self.client, study, place, self.shown_uri)
                self._close_dead()
        except TrackingError:
            raise
        except Exception as error:  # sqlalchemy, http and MLflow errors alike
            told = refused(uri, error) or unusable(uri, first_line(error))
            raise TrackingError(told) from None

    def _close_dead(self) -> None:
        """Mark open runs as killed whose process is gone; MLflow itself never notices."""
        dead = [
            run
            for run in self._search("attributes.status = 'RUNNING'")
            if RUN_ID_TAG in run.data.tags and is_dead(run.data.tags)
        ]
        for run in dead:
            try:
                self.client.set_terminated(run.info.run_id, "KILLED")
            except Exception:
                # Another driver that starts now has seen to it, or something is wrong.
                if self.client.get_run(run.info.run_id).info.lifecycle_stage != "deleted":
                    raise
        for run_id in {run.data.tags[RUN_ID_TAG] for run in dead}:
            self._settle(self._find(run_id))

    def prepare_view(self) -> None:
        """Lay down how MLflow's page opens on the study; see `comparison_view.address`."""
        newest = self.client.search_runs(
            [self.experiment_id],
            filter_string=comparison_view.RUNS_ONLY,
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        shown = comparison_view.comparable_with(newest[0].data.tags if newest else {})
        measured = self._search(f"{shown} and metrics.`{comparison_view.LATENCY}` > 0")
        state = comparison_view.view_state(bool(measured), shown)
        experiment = self.client.get_experiment(self.experiment_id)
        tag = comparison_view.VIEW_TAG
        if experiment.tags.get(tag) != state:
            self.client.set_experiment_tag(self.experiment_id, tag, state)

    def start(self, spec: RunSpec, resumed: bool = False) -> None:
        """Open the MLflow run of a run, the one of an earlier attempt if this goes on with it."""
        earlier = self._find(spec.run_id)
        kept = attempts.to_go_on_with(earlier) if resumed else None
        for old in attempts.cut_short(earlier):
            if old is not kept:
                self.client.delete_run(old.info.run_id)
        if kept is not None:
            self._reopen(spec.run_id, kept)
            return
        tags = {**run_fields.spec_tags(spec), **heartbeat_tags()}
        name = run_fields.run_name(spec, self._root)
        created = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        self._open[spec.run_id] = _OpenRun(created.info.run_id)
        self._log(spec.run_id, params=run_fields.parameters(spec))
        dataset = run_fields.dataset_input(spec)
        self.client.log_inputs(created.info.run_id, datasets=[dataset])

    def _reopen(self, run_id: str, run: Any) -> None:
        """Go on with a run: what it has must not be logged again."""
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
        """Log epochs' curves, at an epoch's number as step, but for those that are there."""
        run = self._open.get(spec.run_id)
        if run is None:
            return
        new = [result for result in results if result.epoch not in run.epochs]
        # The same moment each time: MLflow keeps a point that is logged again but once.
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
        """Log the samples of the machine that a run's open MLflow run lacks.

        They wait for the first epoch: MLflow's pages begin with the metric that was logged first.
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
        """Say of the open runs that their process lives, where it is time, or now."""
        for run_id, run in self._open.items():
            if now or run.is_to_beat():
                self._log(run_id, tags=heartbeat_tags())

    def bring(self, folder: RunFolder) -> bool:
        """Make the store have the end of a run as its folder has it; return whether it lacked it.

        Does nothing for a run that has neither record nor failure. A run that an earlier bench
        logged, under other names, is logged anew.
        """
        record, failure = folder.record(), folder.failure()
        if record is not None:
            return self._bring(record.spec, "FINISHED", lambda: self._finish(folder, record))
        if failure is not None:
            return self._bring(failure.spec, "FAILED", lambda: self._fail(folder, failure))
        return False

    def _bring(self, spec: RunSpec, status: str, log: Callable[[], None]) -> bool:
        if spec.run_id not in self._open:
            if spec.run_id in self._finished_before():
                return False
            found = self._find(spec.run_id)
            if attempts.has_result(found, status):
                self._settle(found)
                return False
            self.start(spec, resumed=bool(found))
        try:
            log()
            self.client.set_terminated(self._open[spec.run_id].mlflow_id, status)
        finally:
            # Where this failed, the store may have lost the run: it is looked for anew.
            self._open.pop(spec.run_id, None)
        self._moments.pop(spec.run_id, None)
        self._settle(self._find(spec.run_id))
        return True

    def _finished_before(self) -> set[str]:
        """The run_ids that the store had finished, each once, when it was first asked for one.

        One search for all of them: a study of thousands would ask as often as it has runs.
        """
        if self._finished is None:
            ended = self._search("attributes.status = 'FINISHED'")
            told = [
                run.data.tags.get(RUN_ID_TAG, "") for run in ended if attempts.is_of_this_kind(run)
            ]
            counts = Counter(told)
            self._finished = {run_id for run_id, count in counts.items() if count == 1}
        return self._finished

    def _settle(self, found: Sequence[Any]) -> None:
        """Leave one of a run's MLflow runs."""
        for run in attempts.superfluous(found):
            self.client.delete_run(run.info.run_id)

    def _finish(self, folder: RunFolder, record: RunRecord) -> None:
        self.log_epochs(record.spec, record.training.epochs)
        self.log_samples(folder, record.run_id)
        mlflow_id = self._open[record.run_id].mlflow_id
        # The same moment each time: MLflow keeps a point that is logged again but once.
        at = int(datetime.datetime.fromisoformat(record.finished_at).timestamp() * 1000)
        points = _points(run_fields.final_metrics(record), run_fields.FINAL_STEP, at)
        tags = log_results(self.client, mlflow_id, folder, record)
        self._log(record.run_id, points, tags={**run_fields.record_tags(record), **tags})

    def _fail(self, folder: RunFolder, failure: Failure) -> None:
        values = (failure.stage, failure.reason)
        self._log(failure.run_id, tags=dict(zip(FAILURE_TAGS, values, strict=True)))
        log_failure(self.client, self._open[failure.run_id].mlflow_id, folder)

    def kill(self, run_id: str) -> None:
        """Close a run that the user stopped."""
        if run_id in self._open:
            self.client.set_terminated(self._open.pop(run_id).mlflow_id, "KILLED")
            self._moments.pop(run_id, None)
            self._settle(self._find(run_id))

    def log_report(
        self, texts: Mapping[str, str], table: pd.DataFrame, figures: Sequence[Path]
    ) -> str:
        """Log the study's report as the experiment's one run of its kind; return its MLflow id.

        `texts` maps names such as `report.html` to content, `table` has a row for each
        architecture, `figures` are files. Nothing is done where the store has this report.
        Comparisons leave the run out by its tag `bench.kind`.
        """
        return log_report_run(self.client, self.experiment_id, self._reports, texts, table, figures)

    def has_report(self) -> bool:
        """Whether the study's report is there, of whatever content, and whole."""
        return any(is_whole(run) for run in self._reports())

    def _reports(self) -> list[Any]:
        return self._search(report_filter())

    def logged(self, run_id: str) -> tuple[Any, Any]:
        """MLflow's client, and the run that was logged last; raises TrackingError without one."""
        found = self._find(run_id)
        if not found:
            raise TrackingError(f"run {run_id} is not in {self.shown_uri}; `bench sync` logs it")
        return self.client, found[0]

    def delete(self, run_ids: Sequence[str]) -> None:
        """Delete all that was logged of runs.

        Raises TrackingError, with nothing deleted, if the model registry needs one of them.
        """
        found = [run for run_id in run_ids for run in self._find(run_id)]
        require_unregistered(self.client, found)
        delete_logged(self.client, found, self._root)

    def _find(self, run_id: str) -> list[Any]:
        """Runs of that identity, newest first."""
        return self._search(f"tags.`{RUN_ID_TAG}` = '{run_id}'")

    def _search(self, filter_string: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id], filter_string=filter_string, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _log(
        self,
        run_id: str,
        points: Sequence[Any] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log some of a run, in one call unless there is very much of it."""
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
    """Metrics as MLflow's entities; `at_ms` is their moment."""
    from mlflow.entities import Metric

    return [Metric(key, value, at_ms, step) for key, value in metrics.items()]
