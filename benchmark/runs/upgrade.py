"""Upgrade stored files of earlier versions, in memory, as they are read.

Each step takes the raw JSON of one version and returns that of the next. Files on disk stay as they
were written, so that their checksums hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Values = dict[str, Any]

RECORD_VERSION: Literal[4] = 4
"""Version of `record.json` and `failure.json` that this bench writes."""
OLDEST_VERSION = 2
"""Earliest version that can be upgraded."""

FORMER_DATA_KEYS = {
    "twin_groups": "exact_duplicate_groups",
    "twin_images": "exact_duplicate_images",
    "twins_across_splits": "exact_duplicates_across_splits",
}
"""Keys of `DataSummary` in version 2, with their current names."""
_FORMER_RECORD_KEYS = {
    "body_sha256": "backbone_sha256",
    "cost_fault": "cost_error",
    "measured_fault": "measured_error",
}
_COUNTERS = ("flopth", "fvcore", "torch")
_METRICS = ("accuracy", "macro_f1", "loss")


def upgraded(values: Any) -> Any:
    """Return the values of a record or a failure in the current version.

    Values of a version that cannot be upgraded, or of another type, are returned unchanged.
    """
    while isinstance(values, dict) and (step := _STEPS.get(str(values.get("version")))) is not None:
        values = step(values)
    return values


def upgraded_spec(values: Any) -> Any:
    """Return the values of a spec with current keys; specs have no version of their own."""
    return _changed(values, "data_summary", lambda data: _renamed(data, FORMER_DATA_KEYS))


def upgraded_model(values: Any) -> Any:
    """Return the values of a saved model's description, which has no version of its own."""
    return _changed(_renamed(values, _FORMER_RECORD_KEYS), "spec", upgraded_spec)


def upgraded_audit(values: Any) -> Any:
    """Return the values of an audit in the current version; version 1 had a single head."""
    if not isinstance(values, dict) or values.get("version") != 1:
        return values
    keys = ("architecture", "image_size", "weights", "weights_sha256")
    head = {key: values[key] for key in (*keys, "accuracy") if key in values}
    rest = {key: value for key, value in values.items() if key not in keys}
    return {**rest, "version": 2, "heads": [head]}


def _from_2_to_3(values: Values) -> Values:
    """Collect metrics and counters by name, and rename keys."""
    metrics = {name: name for name in _METRICS}
    current = _changed(upgraded_model(values), "test", lambda it: _grouped(it, "metrics", metrics))
    return {**_changed(current, "cost", _counters_by_name), "version": 3}


def _counters_by_name(cost: Any) -> Any:
    for name in _COUNTERS:
        cost = _changed(cost, name, lambda result: _renamed(result, {"fault": "error"}))
    cost = _grouped(cost, "counters", {name: name for name in _COUNTERS})
    return _grouped(cost, "verdicts", {f"{name}_verdict": name for name in _COUNTERS})


def _from_3_to_4(values: Values) -> Values:
    """Rename the training route `pictures` to `images`."""
    current = _changed(values, "training", lambda it: _changed(it, "route", _current_route))
    return {**current, "version": 4}


def _current_route(route: Any) -> Any:
    return "images" if route == "pictures" else route


_STEPS: Mapping[str, Callable[[Values], Values]] = {"2": _from_2_to_3, "3": _from_3_to_4}


# Damaged files may hold values of any type; these are left to the validation that follows.
def _changed(values: Any, key: str, change: Callable[[Any], Any]) -> Any:
    if not isinstance(values, dict) or key not in values:
        return values
    return {**values, key: change(values[key])}


def _renamed(values: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(values, dict):
        return values
    return {names.get(key, key): value for key, value in values.items()}


def _grouped(values: Any, group: str, names: Mapping[str, str]) -> Any:
    """Move the keys of `names` into a dictionary under `group`, by their new names."""
    if not isinstance(values, dict):
        return values
    rest = {key: value for key, value in values.items() if key not in names}
    return {**rest, group: {new: values[old] for old, new in names.items() if old in values}}
