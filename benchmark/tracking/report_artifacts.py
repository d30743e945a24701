"""Log a study's report to MLflow as one report run, replaced when the report changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from benchmark.tracking import attempts
from benchmark.tracking.heartbeat import heartbeat_tags
from benchmark.tracking.run_fields import KIND_TAG, NOTE_TAG, REPORT_KIND

if TYPE_CHECKING:
    import pandas as pd

CONTENT_TAG = "bench.report_content"
"""Hash of the report's content; set last, so that an incomplete report is recognized."""
NO_METRICS: Mapping[str, float] = MappingProxyType({})
TABLE = "table.json"
FIGURES = "figures"
NOTE = "Report of the study. Its table, plots and texts are artifacts of this run."


def report_filter() -> str:
    """Return the MLflow search filter for report runs."""
    return f"tags.`{KIND_TAG}` = '{REPORT_KIND}'"


def is_whole(run: Any) -> bool:
    """Return whether a report run was logged completely."""
    return run.info.status == "FINISHED" and CONTENT_TAG in run.data.tags


def log_report_run(
    client: Any,
    experiment_id: str,
    search: Callable[[], Sequence[Any]],
    texts: Mapping[str, str],
    table: pd.DataFrame,
    figures: Sequence[Path],
    note: str = NOTE,
    metrics: Mapping[str, float] = NO_METRICS,
) -> str:
    """Ensure that there is one report run with this content; return its MLflow id.

    `search` returns the report runs; `note` is the description of a new one, and `metrics` are its
    figures. A run with other content is replaced by a new one and deleted. If two drivers log a
    report at the same time, the later one is kept.
    """
    content = _hash({**texts, "note": note}, table, figures)
    runs = search()
    best = max(runs, key=_worth, default=None)
    if best is not None and is_whole(best) and best.data.tags[CONTENT_TAG] == content:
        mlflow_id = str(best.info.run_id)
    else:
        mlflow_id = _log(client, experiment_id, texts, table, figures, note)
        for name, value in metrics.items():
            client.log_metric(mlflow_id, name, value)
        client.set_tag(mlflow_id, CONTENT_TAG, content)
        client.set_terminated(mlflow_id, "FINISHED")
        runs = search()  # another driver may have logged one
    for old in attempts.superfluous(runs, _worth):
        client.delete_run(old.info.run_id)
    return mlflow_id


def _worth(run: Any) -> tuple[int, int, str]:
    return int(is_whole(run)), run.info.end_time or 0, run.info.run_id


def _log(
    client: Any,
    experiment_id: str,
    texts: Mapping[str, str],
    table: pd.DataFrame,
    figures: Sequence[Path],
    note: str,
) -> str:
    tags = {
        **heartbeat_tags(),
        KIND_TAG: REPORT_KIND,
        "mlflow.source.name": "bench report",
        NOTE_TAG: note,
    }
    created = client.create_run(experiment_id, run_name="report", tags=tags)
    mlflow_id = str(created.info.run_id)
    for name, text in texts.items():
        client.log_text(mlflow_id, text, name)
    client.log_table(mlflow_id, table, TABLE)
    for path in figures:
        client.log_artifact(mlflow_id, str(path), FIGURES)
    return mlflow_id


def _hash(texts: Mapping[str, str], table: pd.DataFrame, figures: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    parts = [(name, text.encode("utf-8")) for name, text in texts.items()]
    parts.append((TABLE, table.to_json(orient="split").encode("utf-8")))
    parts += [(path.name, path.read_bytes()) for path in figures]
    for name, content in sorted(parts):
        digest.update(f"{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
