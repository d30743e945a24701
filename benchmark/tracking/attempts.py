"""Which MLflow runs of one run_id stay, where several attempts or several drivers made some.

The store ends up with one for each run_id: of those that finished the last, else of those that
failed the last, else the latest attempt. One that another living process writes to is left alone,
and nothing finished is deleted before another is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmark.tracking.heartbeat import is_dead, is_ours
from benchmark.tracking.run_fields import KIND_TAG, RUN_KIND

RESULTS = ("FINISHED", "FAILED")
"""States of a run whose end is logged, the better one first."""


def is_of_this_kind(run: Any) -> bool:
    """Whether a run was logged as this bench logs one."""
    return bool(run.data.tags.get(KIND_TAG) == RUN_KIND)


def is_anothers(run: Any) -> bool:
    """Whether another process, on this machine or elsewhere, writes to it now."""
    tags = run.data.tags
    return run.info.status == "RUNNING" and not is_ours(tags) and not is_dead(tags)


def has_result(found: Sequence[Any], status: str) -> bool:
    """Whether one of them holds a result that is as good."""
    enough = RESULTS[: RESULTS.index(status) + 1]
    return any(run.info.status in enough and is_of_this_kind(run) for run in found)


def to_go_on_with(found: Sequence[Any]) -> Any | None:
    """The attempt (newest first) that a run which goes on writes to; None where there is none."""
    for run in found:
        if run.info.status != "FINISHED" and is_of_this_kind(run) and not is_anothers(run):
            return run
    return None


def cut_short(found: Sequence[Any]) -> list[Any]:
    """Attempts that came to no result, and that nobody writes to."""
    return [run for run in found if run.info.status not in RESULTS and not is_anothers(run)]


def _worth(run: Any) -> tuple[int, int, str]:
    order = dict(zip(reversed(RESULTS), (1, 2), strict=True))
    rank = order.get(run.info.status, 0) if is_of_this_kind(run) else -1
    return rank, run.info.end_time or 0, run.info.run_id


def superfluous(
    found: Sequence[Any], worth: Callable[[Any], tuple[int, int, str]] = _worth
) -> list[Any]:
    """All but the one that stays, that of most worth; what another living process writes to stays.

    Two drivers that ask at once get the same answer.
    """
    ended = [run for run in found if not is_anothers(run)]
    stays = max(ended, key=worth, default=None)
    return [run for run in ended if run is not stays]
