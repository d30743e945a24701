"""Initial view of a study in MLflow's UI: the newest comparable runs, best first, with charts.

The UI stores a shared view (its button "Share") in a tag of the experiment, and opens the view if
the URL names its key. A UI without shared views shows its own default. The columns of a page whose
URL names no key are fixed in the UI's script (MLflow 3.17); there the view is in the menu "Views".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from benchmark.tracking.run_fields import DATA_TAG, KIND_TAG, PROTOCOL_TAG, RUN_KIND

KEY = "bench"
LATENCY = "speed/latency_ms"
VIEW_TAG = f"mlflow.sharedViewState.{KEY}"
SAVED_VIEW_TAG = f"{VIEW_TAG}-runs"
SAVED_VIEW = "Comparable runs (bench)"
"""Name in the UI's menu "Views", which lists saved views from MLflow 3.17 on."""
RUNS_ONLY = f"tags.`{KIND_TAG}` = '{RUN_KIND}'"
COLUMNS = (
    *("params.`seed`", "metrics.`test/accuracy`", "metrics.`test/macro_f1`"),
    *("metrics.`cost/gmacs`", "metrics.`cost/mparams`", "metrics.`speed/latency_ms`"),
    *("metrics.`time/train_s`", "params.`mode`", "params.`weights`"),
)
COMPARISON = "Comparison"
ROOM: dict[str, Any] = {"columns": 2, "cardHeight": 420}
"""Layout of the comparison. Charts with several axes are too narrow in three columns."""
SECTIONS = (
    *(COMPARISON, "test", "valid", "train", "cost", "speed", "memory", "time", "best"),
    *("counters", "System metrics"),
)


def address(base: str, experiment_id: str, table: bool = False) -> str:
    """Return the URL of a study's comparison on a server at `base`: its charts or its table."""
    # Without workflowType, MLflow 3 opens its pages for language models, which show no runs.
    query = urlencode(
        {
            "workflowType": "machine_learning",
            "compareRunsMode": "TABLE" if table else "CHART",
            "viewStateShareKey": KEY,
        }
    )
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def comparable_with(tags: Mapping[str, str]) -> str:
    """Return the filter for runs that are comparable with a run with these tags.

    Accuracies are only comparable for the same protocol and the same data, so the ranking covers
    one protocol and one fingerprint. Users can change the filter in the UI.
    """
    same = [f"tags.`{tag}` = '{tags[tag]}'" for tag in (PROTOCOL_TAG, DATA_TAG) if tag in tags]
    return " and ".join([RUNS_ONLY, *same])


def view_state(measured: bool, shown: str = RUNS_ONLY) -> str:
    """Return the view as JSON in the UI's format, for the runs that match the filter `shown`.

    `measured` is whether one of them has a latency.
    """
    state = {
        "searchFilter": shown,
        "orderByKey": "metrics.`test/accuracy`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "compareRunCharts": _charts(measured),
        "compareRunSections": [
            {
                "uuid": _section(name),
                "name": name,
                "display": True,
                "isReordered": False,
                **(ROOM if name == COMPARISON else {}),
            }
            for name in SECTIONS
        ],
    }
    return json.dumps(state, separators=(",", ":"))


def saved_view(state: str, created_ms: int) -> str:
    """Return a view as the UI's menu of saved views stores it."""
    content = {"name": SAVED_VIEW, "createdAt": created_ms, "updatedAt": created_ms, "state": state}
    return json.dumps(content, separators=(",", ":"))


def _charts(measured: bool) -> list[dict[str, Any]]:
    """Return the charts of the comparison; the UI adds one for each metric."""
    return [
        _chart(
            "PARALLEL",
            selectedParams=["architecture"],
            selectedMetrics=["cost/gmacs", "cost/mparams", "time/train_s", "test/accuracy"],
            showAllRuns=False,
        ),
        _scatter("cost/gmacs"),
        _scatter("cost/mparams"),
        *([_scatter(LATENCY)] if measured else []),
        _chart(
            "DIFFERENCE",
            compareGroups=["Parameters", "Model metrics"],
            chartName="Differences between runs",
            showChangeFromBaseline=True,
            showDifferencesOnly=True,
            baselineColumnUuid="",
        ),
    ]


def _scatter(cost: str) -> dict[str, Any]:
    x = {"key": cost, "type": "METRIC"}
    return _chart("SCATTER", named=cost, xaxis=x, yaxis={"key": "test/accuracy", "type": "METRIC"})


def _chart(kind: str, named: str = "", **settings: Any) -> dict[str, Any]:
    return {
        "uuid": f"bench-{kind}-{named}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": _section(COMPARISON),
        "deleted": False,
        "isGenerated": False,
        **settings,
    }


def _section(name: str) -> str:
    return f"bench-section-{name}"


def store_view(client: Any, experiment_id: str) -> None:
    """Store the initial view of an experiment in tags that MLflow's UI reads."""
    newest = client.search_runs(
        [experiment_id],
        filter_string=RUNS_ONLY,
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    shown = comparable_with(newest[0].data.tags if newest else {})
    measured = client.search_runs(
        [experiment_id],
        filter_string=f"{shown} and metrics.`{LATENCY}` > 0",
        max_results=1,
    )
    state = view_state(bool(measured), shown)
    experiment = client.get_experiment(experiment_id)
    views = {
        VIEW_TAG: state,
        SAVED_VIEW_TAG: saved_view(state, experiment.creation_time or 0),
    }
    for tag, view in views.items():
        if experiment.tags.get(tag) != view:
            client.set_experiment_tag(experiment_id, tag, view)
