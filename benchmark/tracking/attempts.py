"""Choose which MLflow run of a run_id to keep if several attempts or drivers created one.

The store keeps one MLflow run per run_id: the last that finished, else the last that failed, else
the latest attempt. A run that another live process writes to is not touched, and no finished run
is deleted before another one has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmark.tracking.heartbeat import is_dead, is_ours
from benchmark.tracking.run_fields import KIND_TAG, RUN_KIND

RESULTS = ("FINISHED", "FAILED")
"""Final MLflow states of a run, in order of preference."""


def is_of_this_kind(run: Any) -> bool:
    """Return whether an MLflow run was logged in the current format."""
    return bool(run.data.tags.get(KIND_TAG) == RUN_KIND)


def is_anothers(run: Any) -> bool:
    """Return whether another live process, on any machine, writes to this MLflow run."""
    tags = run.data.tags
    return run.info.status == "RUNNING" and not is_ours(tags) and not is_dead(tags)


def has_result(runs: Sequence[Any], status: str) -> bool:
    """Return whether one of the MLflow runs has a result at least as good as `status`."""
    enough = RESULTS[: RESULTS.index(status) + 1]
    return any(run.info.status in enough and is_of_this_kind(run) for run in runs)


def resumable(runs: Sequence[Any]) -> Any | None:
    """Return the attempt that a resumed run continues, or None; `runs` has the newest first."""
    for run in runs:
        if run.info.status != "FINISHED" and is_of_this_kind(run) and not is_anothers(run):
            return run
    return None


def abandoned(runs: Sequence[Any]) -> list[Any]:
    """Return the attempts without a result to which no live process writes."""
    return [run for run in runs if run.info.status not in RESULTS and not is_anothers(run)]


def _worth(run: Any) -> tuple[int, int, str]:
    order = dict(zip(reversed(RESULTS), (1, 2), strict=True))
    rank = order.get(run.info.status, 0) if is_of_this_kind(run) else -1
    return rank, run.info.end_time or 0, run.info.run_id


def superfluous(
    runs: Sequence[Any], worth: Callable[[Any], tuple[int, int, str]] = _worth
) -> list[Any]:
    """Return all but the best MLflow run, without those that another live process writes to.

    The choice is deterministic, so that two concurrent drivers agree.
    """
    ended = [run for run in runs if not is_anothers(run)]
    stays = max(ended, key=worth, default=None)
    return [run for run in ended if run is not stays]
