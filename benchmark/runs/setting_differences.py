"""Settings of runs by dotted key, and the settings in which runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.config.study import StudySettings
from benchmark.runs.shareable import shareable_data
from benchmark.runs.spec import OF_EACH_RUN, RunSpec, protocol_settings
from benchmark.text.recipe_text import space_text
from clothclf.settings import identity

ABSENT = "-"
MAX_SHOWN = 4
"""Maximum number of settings shown for one run."""
MAX_VALUE = 40
"""Maximum number of characters shown for one value."""


def comparable_settings(item: StudySettings | RunSpec) -> dict[str, Any]:
    """Return the settings that all runs of one table must share, besides the data's fingerprint.

    Paths of images and the source of the weights may differ: the fingerprint identifies the data,
    and each row names its weights.
    """
    data = identity(shareable_data(item.data))
    del data["path"], data["image_size"]
    if item.data.source != "demo":
        data.pop("demo")
    size: int | str = OF_EACH_RUN
    if not item.several_sizes:
        size = item.image_size if isinstance(item, RunSpec) else item.data.shown_size
    # Probes of a selection do not use the test split, so reports leave them out.
    evaluate = item.evaluate if isinstance(item, RunSpec) else "test"
    protocol = protocol_settings(size, item.model, item.train, item.tuning)
    return {"data": data, "evaluate": evaluate, **protocol}


def settings_of_spec(spec: RunSpec) -> dict[str, str]:
    """Return all settings of a run as text by dotted key; config keys are as in `--set`."""
    summary = spec.data_summary
    data = spec.data.model_dump(mode="json")
    if spec.data.source != "demo":
        data.pop("demo")
    return flat(
        {
            "study": spec.study,
            "architecture": spec.architecture,
            "seed": spec.seed,
            "device": spec.device,
            "measure": spec.measure,
            "tracking.weights": spec.save_weights,
            "data": {
                **data,
                "image_size": spec.image_size,
                "fingerprint": summary.fingerprint,
                "classes": len(summary.classes),
                "images": summary.images,
            },
            "model": {
                **spec.model.model_dump(mode="json", exclude={"head", "precision"}),
                "head": spec.head.model_dump(mode="json"),
                "precision": spec.precision,
            },
            "train": spec.train.model_dump(mode="json"),
            "tuning": _tuning(spec),
            "start": {
                "weights": spec.weights.name,
                "origin": spec.weights.origin,
                "sha256": spec.weights.sha256[:12],
            },
        }
    )


def _tuning(spec: RunSpec) -> dict[str, object]:
    if spec.tuning is None:
        return {}
    values = spec.tuning.model_dump(mode="json", exclude={"space"})
    return {**values, "space": space_text(spec.tuning)}


# These are part of a run's name, or do not affect its results.
_ASIDE = {
    *("study", "architecture", "seed", "device", "measure", "tracking.weights"),
    *("data.path", "data.classes", "start.origin"),
}
# These follow from other settings, so they are only shown if none of those differs.
_IMPLIED = {
    "data.fingerprint": "data.",
    "start.sha256": "start.weights",
    "start.weights": "model.weights",
    "tuning.epochs": "tuning.trials",
    "tuning.space": "tuning.trials",
}


def differing_settings(specs: Sequence[RunSpec]) -> list[str]:
    """Return for each run the settings that differ, such as `learning_rate=0.01, epochs=3`.

    Training settings come first. Keys are shortened to their last part unless that is ambiguous.
    The texts are empty if the runs agree in all settings that affect results.
    """
    all_settings = [settings_of_spec(spec) for spec in specs]
    keys = {
        key for settings in all_settings for key in settings if not key.startswith("data.images.")
    }
    apart = [
        key
        for key in sorted(keys - _ASIDE, key=lambda key: (not key.startswith("train."), key))
        if len({settings.get(key, ABSENT) for settings in all_settings}) > 1
    ]
    for implied, prefix in _IMPLIED.items():
        if any(key.startswith(prefix) and key != implied for key in apart):
            apart = [key for key in apart if key != implied]
    last = [key.rpartition(".")[2] for key in apart]
    names = [
        short if last.count(short) == 1 else key for short, key in zip(last, apart, strict=True)
    ]
    return [
        _shown(names, [settings.get(key, ABSENT) for key in apart]) for settings in all_settings
    ]


def _shown(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [
        f"{name}={value if len(value) <= MAX_VALUE else f'{value[:MAX_VALUE]}…'}"
        for name, value in zip(names, values, strict=True)
    ]
    more = len(pairs) - MAX_SHOWN
    return ", ".join([*pairs[:MAX_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested values to text by dotted key."""
    items: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = _text(value)
    return items


def _text(value: object) -> str:
    if value is None or value == "":
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
