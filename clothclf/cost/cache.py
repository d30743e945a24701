"""Count a network once: what the same counters said of it before is kept, and read again."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
from pathlib import Path

from clothclf.cost.count import CostRequest, cost_from_dict, cost_to_dict, count_cost
from clothclf.data.atomic import write_text
from clothclf.models.own import is_own, source_sha256
from clothclf.results import Cost

FORMAT = 2
"""Raise it when the same counters would be told differently."""
COUNTERS = ("torch", "timm", "fvcore", "flopth")
"""What a count depends on, beside the request."""


def cached_count(request: CostRequest, folder: Path) -> Cost:
    """What a network costs, from below `folder` where it was counted before, by these versions.

    Raises CostError as `count_cost` does; what could not be counted is not kept.
    """
    path = kept_at(request, folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(path.read_text("utf-8"))
        if told["check"] == _check(told["cost"]):
            return cost_from_dict(told["cost"])
    cost = count_cost(request)
    # As JSON reads it back: its dictionaries have text for keys.
    values = json.loads(json.dumps(cost_to_dict(cost)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"check": _check(values), "cost": values}) + "\n")
    return cost


def kept_at(request: CostRequest, folder: Path) -> Path:
    """The file for a request and the installed counters."""
    versions = [importlib.metadata.version(name) for name in COUNTERS]
    own = [source_sha256(request.architecture)] if is_own(request.architecture) else []
    parts = json.dumps([FORMAT, request.to_dict(), versions, *own], sort_keys=True)
    return folder / "costs" / f"{hashlib.sha256(parts.encode()).hexdigest()[:16]}.json"


def _check(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
