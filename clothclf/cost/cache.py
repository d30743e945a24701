"""Cache of counted costs on disk."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
from pathlib import Path

from clothclf.cost.count import CostRequest, cost_from_dict, cost_to_dict, count_cost
from clothclf.cost.counters.registry import PACKAGES
from clothclf.data.atomic import json_sha256, write_text
from clothclf.models.custom import is_custom, source_sha256
from clothclf.results import Cost

logger = logging.getLogger(__name__)

FORMAT = 3
"""Version of the cache's content; increase it when the same counters would give other results."""


def cached_count(request: CostRequest, folder: Path) -> Cost:
    """Return a network's cost from the cache in `folder`, or count and cache it.

    The key includes the versions of the counters. Raises CostError like `count_cost`; failures are
    not cached.
    """
    path = cache_path(request, folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(path.read_text("utf-8"))
        if entry["check"] == json_sha256(entry["cost"]):
            logger.debug("cost of %s read from %s", request.architecture, path)
            return cost_from_dict(entry["cost"])
    logger.info("counting %s", request.architecture)
    cost = count_cost(request)
    # Hash what JSON reads back: its dictionary keys are strings.
    values = json.loads(json.dumps(cost_to_dict(cost)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"check": json_sha256(values), "cost": values}) + "\n")
    return cost


def cache_path(request: CostRequest, folder: Path) -> Path:
    """Return the cache file of a request with the installed counters."""
    versions = [importlib.metadata.version(name) for name in ("timm", *PACKAGES)]
    own = [source_sha256(request.architecture)] if is_custom(request.architecture) else []
    key = json_sha256([FORMAT, request.to_dict(), versions, *own])[:16]
    return folder / "costs" / f"{key}.json"
