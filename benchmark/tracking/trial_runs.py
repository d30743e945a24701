"""Log the trials of tuning as nested MLflow runs below the MLflow run of their run."""

from __future__ import annotations

import datetime
from typing import Any

from benchmark.runs.record import RunRecord
from benchmark.tracking.run_fields import KIND_TAG, TRIAL_KIND
from clothclf.results import Trial

PARENT_TAG = "mlflow.parentRunId"
"""Tag by which MLflow's UI nests runs."""
MAX_TRIALS = 1000
"""More than a run can have (`clothclf.settings.tuning.MAX_TRIALS`), so one page has them all."""


def log_trials(client: Any, experiment_id: str, parent_id: str, record: RunRecord) -> None:
    """Ensure that each trial of a tuned run has one nested MLflow run; does nothing otherwise.

    Validation accuracy and loss have the epochs of each rung as step. A failed trial has the
    status FAILED. Comparisons exclude trials by their tag `bench.kind`.
    """
    result = record.training.tuning
    if result is None:
        return
    delete_trials(client, experiment_id, parent_id)  # left by an attempt that was interrupted
    at_ms = int(datetime.datetime.fromisoformat(record.finished_at).timestamp() * 1000)
    for number, trial in enumerate(result.trials):
        chosen = number == result.chosen
        tags = {
            KIND_TAG: TRIAL_KIND,
            PARENT_TAG: parent_id,
            "bench.study": record.spec.study,
            "bench.architecture": record.spec.architecture,
            "bench.chosen": str(chosen).lower(),
            "mlflow.source.name": "bench run",
        }
        seconds = sum(rung.seconds for rung in trial.rungs)
        created = client.create_run(
            experiment_id,
            start_time=at_ms - round(1000 * seconds),
            tags=tags,
            run_name=f"{record.spec.name} trial {number + 1}{' (chosen)' * chosen}",
        )
        _log_trial(client, created.info.run_id, record, trial, at_ms)


def _log_trial(client: Any, mlflow_id: str, record: RunRecord, trial: Trial, at_ms: int) -> None:
    from mlflow.entities import Metric, Param, RunTag

    params = {"architecture": record.spec.architecture, "seed": record.spec.seed, **trial.settings}
    points = [
        Metric(name, value, at_ms, rung.epochs)
        for rung in trial.rungs
        for name, value in (
            ("valid/accuracy", rung.valid_accuracy),
            ("valid/loss", rung.valid_loss),
        )
        if value is not None
    ]
    error = trial.rungs[-1].error if trial.rungs else ""
    client.log_batch(
        mlflow_id,
        points,
        [Param(key, str(value)) for key, value in params.items()],
        [RunTag("bench.failed_reason", error)] if error else [],
    )
    client.set_terminated(mlflow_id, "FAILED" if error else "FINISHED", end_time=at_ms)


def delete_trials(client: Any, experiment_id: str, parent_id: str) -> None:
    """Delete the nested runs of an MLflow run."""
    trials = client.search_runs(
        [experiment_id], f"tags.`{PARENT_TAG}` = '{parent_id}'", max_results=MAX_TRIALS
    )
    for run in trials:
        client.delete_run(run.info.run_id)
