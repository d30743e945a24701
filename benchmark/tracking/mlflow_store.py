"""MLflow as bench uses it: one experiment for a study, one flat run for a run, found by its tag."""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.errors import TrackingError
from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.runner import run_folder as files
from benchmark.runner.run_folder import RunFolder
from benchmark.tracking.life import is_dead, life_tags
from benchmark.tracking.sqlite_store import opening
from clothclf.results import EpochResult

# Says to the pages that these are trained models, not traces of a language model.
KIND = {"mlflow.experimentKind": "custom_model_development"}
RUN_ID_TAG = "bench.run_id"
BATCH_LIMIT = 100
HTTP_PATIENCE_S = 10
TAG_LIMIT = 5000
FAILURE_TAGS = ("bench.failed_stage", "bench.failed_reason")


@dataclass
class _OpenRun:
    """A run that this process writes to."""

    mlflow_id: str
    logged: set[int] = field(default_factory=set)
    """Epochs that are there."""


class MlflowStore:
    """Writes runs to one experiment; every call may be repeated without doubling anything."""

    def __init__(self, uri: str, study: str, root: Path) -> None:
        """Connect and open the study's experiment; raises TrackingError in one sentence.

        Runs that a process left open when it died are closed as killed.
        """
        _quiet_environment()
        from mlflow import MlflowClient

        self.uri = uri
        self.shown_uri = _without_password(uri)
        try:
            if uri.startswith("http"):
                _require_server(uri)
            with opening(uri):
                self._client = MlflowClient(tracking_uri=uri)
                self.experiment_id = self._open_experiment(study, root)
                self._close_dead()
        except TrackingError:
            raise
        except Exception as error:  # sqlalchemy, http and MLflow errors alike
            raise TrackingError(_unusable(uri, _first_line(error))) from None
        self._open: dict[str, _OpenRun] = {}

    def _open_experiment(self, study: str, root: Path) -> str:
        found = self._client.get_experiment_by_name(study)
        if found is None:
            # A remote server chooses its own place for artifacts.
            local = self.uri.startswith("sqlite:")
            place = (root / "artifacts" / study).as_uri() if local else None
            return str(self._client.create_experiment(study, place, KIND))
        if found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"the MLflow experiment {study!r} in {self.uri} is deleted; restore it "
                f"(mlflow experiments restore -x {found.experiment_id}) or rename the study"
            )
        return str(found.experiment_id)

    def _close_dead(self) -> None:
        """Mark open runs as killed whose process is gone; MLflow itself never notices."""
        for run in self._search("attributes.status = 'RUNNING'"):
            if RUN_ID_TAG in run.data.tags and is_dead(run.data.tags):
                self._client.set_terminated(run.info.run_id, "KILLED")

    def start(self, spec: RunSpec, resumed: bool = False) -> None:
        """Open the MLflow run of a run, the one of an earlier attempt if this goes on with it."""
        earlier = self._find(spec.run_id)
        kept = earlier[:1] if resumed else []
        for old in earlier[len(kept) :]:
            self._client.delete_run(old.info.run_id)
        if kept:
            self._reopen(spec.run_id, kept[0])
            return
        created = self._client.create_run(
            self.experiment_id, run_name=spec.name, tags={**_spec_tags(spec), **life_tags()}
        )
        self._open[spec.run_id] = _OpenRun(created.info.run_id)
        self._log(spec.run_id, params=_parameters(spec))
        self._client.log_inputs(created.info.run_id, datasets=[_dataset(spec)])

    def _reopen(self, run_id: str, run: Any) -> None:
        """Go on with a run: what it has must not be logged again."""
        mlflow_id = run.info.run_id
        logged = {point.step for point in self._client.get_metric_history(mlflow_id, "valid/loss")}
        self._open[run_id] = _OpenRun(mlflow_id, logged)
        self._client.update_run(mlflow_id, status="RUNNING")
        for tag in FAILURE_TAGS:
            if tag in run.data.tags:
                self._client.delete_tag(mlflow_id, tag)
        self._log(run_id, tags=life_tags())

    def log_epoch(self, spec: RunSpec, result: EpochResult) -> None:
        """Log one epoch's curves, at the epoch's number as step, unless it is there."""
        run = self._open.get(spec.run_id)
        if run is not None and result.epoch not in run.logged:
            self._log(spec.run_id, metrics=_epoch_metrics(result), step=result.epoch)
            run.logged.add(result.epoch)

    def beat(self) -> None:
        """Say of the open runs that their process lives."""
        for run_id in self._open:
            self._log(run_id, tags=life_tags())

    def bring(self, folder: RunFolder) -> bool:
        """Make the store have the end of a run as its folder has it; return whether it lacked it.

        Does nothing for a run that has neither record nor failure.
        """
        record, failure = folder.record(), folder.failure()
        if record is not None:
            return self._bring(record.spec, "FINISHED", lambda: self._finish(folder, record))
        if failure is not None:
            return self._bring(failure.spec, "FAILED", lambda: self._fail(folder, failure))
        return False

    def _bring(self, spec: RunSpec, status: str, log: Callable[[], None]) -> bool:
        found = self._find(spec.run_id)
        whole = [run for run in found if run.info.status == status]
        for extra in [run for run in found if run not in whole[:1]] if whole else found[1:]:
            self._client.delete_run(extra.info.run_id)
        if whole:
            self._open.pop(spec.run_id, None)
            return False
        try:
            if not found or spec.run_id not in self._open:
                self.start(spec, resumed=bool(found))
            log()
            self._client.set_terminated(self._open[spec.run_id].mlflow_id, status)
        finally:
            # Where this failed, the store may have lost the run: it is looked for anew.
            self._open.pop(spec.run_id, None)
        return True

    def _finish(self, folder: RunFolder, record: RunRecord) -> None:
        for result in record.training.epochs:
            self.log_epoch(record.spec, result)
        last = len(record.training.epochs)
        # The same moment each time: MLflow keeps a point that is logged again but once.
        at = int(datetime.datetime.fromisoformat(record.finished_at).timestamp() * 1000)
        self._log(record.run_id, metrics=_final_metrics(record), step=last, at=at)
        self._log(record.run_id, tags=_record_tags(record))
        for name in (*folder.results(), files.RECORD):
            self._client.log_artifact(self._open[record.run_id].mlflow_id, str(folder.path / name))

    def _fail(self, folder: RunFolder, failure: Failure) -> None:
        values = (failure.stage, failure.reason)
        self._log(failure.run_id, tags=dict(zip(FAILURE_TAGS, values, strict=True)))
        if (folder.path / files.LOG).is_file():
            mlflow_id = self._open[failure.run_id].mlflow_id
            self._client.log_artifact(mlflow_id, str(folder.path / files.LOG))

    def kill(self, run_id: str) -> None:
        """Close a run that the user stopped."""
        if run_id in self._open:
            self._client.set_terminated(self._open.pop(run_id).mlflow_id, "KILLED")

    def _find(self, run_id: str) -> list[Any]:
        """Runs of that identity, newest first."""
        return self._search(f"tags.`{RUN_ID_TAG}` = '{run_id}'")

    def _search(self, filter_string: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], filter_string=filter_string, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _log(
        self,
        run_id: str,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        """Log some of a run; `at` is the metrics' moment in milliseconds, now without."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000) if at is None else at
        target = self._open[run_id].mlflow_id
        for part in _chunks(metrics or {}):
            batch = [Metric(key, value, now, step) for key, value in part]
            self._client.log_batch(target, metrics=batch)
        for part in _chunks(params or {}):
            self._client.log_batch(target, params=[Param(key, value) for key, value in part])
        for part in _chunks(tags or {}):
            short = [RunTag(key, str(value)[:TAG_LIMIT]) for key, value in part]
            self._client.log_batch(target, tags=short)


def _spec_tags(spec: RunSpec) -> dict[str, str]:
    data = spec.data_summary
    synthetic = " Synthetic pictures: the figures say nothing about real ones." * data.synthetic
    return {
        RUN_ID_TAG: spec.run_id,
        "bench.study": spec.study,
        "bench.protocol": spec.protocol_id,
        "bench.data_fingerprint": data.fingerprint,
        "bench.data": data.title,
        "bench.synthetic_data": str(data.synthetic).lower(),
        "bench.weights": spec.weights.name,
        "bench.weights_origin": spec.weights.origin,
        "mlflow.source.name": "bench run",
        "mlflow.note.content": (
            f"{spec.architecture}, {spec.model.mode}, weights {spec.weights.name}, "
            f"seed {spec.seed}, on {data.title}.{synthetic}"
        ),
    }


def _record_tags(record: RunRecord) -> dict[str, str]:
    environment = record.environment
    tags = {f"version.{name}": version for name, version in environment.versions.items()}
    tags |= {
        "version.python": environment.python,
        "bench.device": environment.device,
        "bench.processor": environment.processor,
        "bench.body_sha256": record.body_sha256,
        "bench.training_route": record.training.route,
        "bench.cost_verdict": record.cost.verdict if record.cost else "unchecked",
        "bench.cost_reason": record.cost.reason if record.cost else record.cost_fault,
    }
    if record.measured is not None and record.measured.busy:
        tags["bench.measured_busy"] = record.measured.busy
    if environment.git_commit:
        tags["mlflow.source.git.commit"] = environment.git_commit
    return tags


def _parameters(spec: RunSpec) -> dict[str, str]:
    """Settings as flat parameters: what one would compare or group by."""
    values: dict[str, Any] = {
        "architecture": spec.architecture,
        "seed": spec.seed,
        "head": spec.head.model_dump(mode="json"),
        "weights": spec.weights.name,
        "data": spec.data.model_dump(mode="json", exclude={"path", "demo"}),
        "model": spec.model.model_dump(mode="json", exclude={"weights", "head"}),
        "train": spec.train.model_dump(mode="json"),
    }
    return dict(_flatten(values))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _epoch_metrics(result: EpochResult) -> dict[str, float]:
    return {
        "train/loss": result.train_loss,
        "train/accuracy": result.train_accuracy,
        "train/learning_rate": result.learning_rate,
        "train/images_per_second": result.images_per_second,
        "valid/loss": result.valid_loss,
        "valid/accuracy": result.valid_accuracy,
    }


def _final_metrics(record: RunRecord) -> dict[str, float]:
    best, cost = record.training.best, record.cost
    metrics: dict[str, float] = {
        "test/accuracy": record.test.accuracy,
        "test/macro_f1": record.test.macro_f1,
        "test/loss": record.test.loss,
        "valid/best_accuracy": best.valid_accuracy,
        "valid/best_loss": best.valid_loss,
        "valid/best_epoch": best.epoch,
        "time/train_s": record.training.seconds,
        "time/total_s": sum(record.stage_seconds.values()),
        "memory/peak_mib": record.peak_memory_bytes / 2**20,
    }
    if cost is not None:
        counted = {
            "cost/params": cost.params,
            "cost/trainable_params": cost.trainable_params,
            "cost/macs": cost.macs,
            "cost/flops": cost.flops,
            "cost/macs_flopth": cost.flopth.macs,
            "cost/macs_fvcore": cost.fvcore.macs,
        }
        metrics |= {name: float(value) for name, value in counted.items() if value is not None}
    return metrics | _measured_metrics(record)


def _measured_metrics(record: RunRecord) -> dict[str, float]:
    measured = record.measured
    if measured is None:
        return {}
    metrics = {
        "speed/latency_ms_median": measured.latency_ms_median,
        "speed/latency_ms_p95": measured.latency_ms_p95,
        "speed/best_images_per_second": measured.best_images_per_second,
        "memory/inference_mib": measured.inference_memory_bytes / 2**20,
        "memory/training_mib": measured.training_memory_bytes / 2**20,
    }
    if record.cost is not None and record.cost.macs is not None:
        best = measured.gmacs_per_second(record.cost.macs, measured.best_batch)
        metrics["speed/best_gmacs_per_second"] = best
    return metrics


def _dataset(spec: RunSpec) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = spec.data_summary
    profile = {"images": data.images, "images_per_class": data.images_per_class}
    dataset = Dataset(
        name=data.title,
        digest=data.fingerprint,
        source_type="synthetic" if data.synthetic else "local",
        source=json.dumps({"uri": data.title, "label": spec.data.label}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _chunks(values: Mapping[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    items = list(values.items())
    for start in range(0, len(items), BATCH_LIMIT):
        yield items[start : start + BATCH_LIMIT]


def _quiet_environment() -> None:
    """Keep MLflow from reporting usage to its makers and from talking over our own output."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # What it logs as an error, with a traceback, it raises too, and that is told in a sentence.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(HTTP_PATIENCE_S))
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _require_server(uri: str) -> None:
    """Ask the server for its health first: MLflow's own client retries for minutes."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=HTTP_PATIENCE_S):
            return
    except urllib.error.HTTPError:
        return  # it answers; what it refuses, MLflow's client will say
    except (OSError, ValueError) as error:
        raise TrackingError(_unusable(uri, _first_line(error))) from None


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", uri)


def _unusable(uri: str, why: str) -> str:
    return (
        f"tracking.uri: {_without_password(uri)} cannot be used: {why}; start the server, "
        "mend the URI, or leave it out to use the SQLite store in tracking.folder"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
