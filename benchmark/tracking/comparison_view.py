"""How MLflow's runs page opens on a study: the newest runs that compare, best first, with charts.

The page keeps a view under a key in a tag of the experiment (it is what its button "Share" makes),
and opens it when the address names the key. A page that knows no such view shows its own default.
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
RUNS_ONLY = f"tags.`{KIND_TAG}` = '{RUN_KIND}'"
COLUMNS = (
    *("params.`seed`", "metrics.`test/accuracy`", "metrics.`test/macro_f1`"),
    *("metrics.`cost/gmacs`", "metrics.`cost/mparams`", "metrics.`speed/latency_ms`"),
    *("metrics.`time/train_s`", "params.`mode`", "params.`weights`"),
)
COMPARISON = "Comparison"
ROOM: dict[str, Any] = {"columns": 2, "cardHeight": 420}
"""For the charts of several axes, which three columns press together."""
SECTIONS = (
    *(COMPARISON, "test", "valid", "train", "cost", "speed", "memory", "time", "best"),
    *("counters", "System metrics"),
)


def address(base: str, experiment_id: str) -> str:
    """The page of a study's comparison on a server at `base`."""
    # Without the first MLflow 3 opens its pages for language models, where no run is to be seen.
    query = urlencode(
        {
            "workflowType": "machine_learning",
            "compareRunsMode": "CHART",
            "viewStateShareKey": KEY,
        }
    )
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def comparable_with(tags: Mapping[str, str]) -> str:
    """Filter of the runs that may be compared with a run of these tags.

    Accuracies of other protocols and of other data are not of one scale, so "best first" is of
    one protocol and one fingerprint; change the filter on the page to see the others.
    """
    same = [f"tags.`{tag}` = '{tags[tag]}'" for tag in (PROTOCOL_TAG, DATA_TAG) if tag in tags]
    return " and ".join([RUNS_ONLY, *same])


def view_state(measured: bool, shown: str = RUNS_ONLY) -> str:
    """The view as the page reads it, JSON, of the runs that the filter `shown` finds.

    `measured` says whether one of them has a latency.
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


def _charts(measured: bool) -> list[dict[str, Any]]:
    """What a comparison is about; a chart for each metric is added by the page itself."""
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
