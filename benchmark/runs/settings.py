"""What a run was asked to do, by dotted key, and in which keys runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.config.study import StudySettings
from benchmark.runs.spec import OF_EACH_RUN, RunSpec, protocol_settings

ABSENT = "-"
MAX_SHOWN = 4
"""Settings shown of one run."""
MAX_VALUE = 40
"""Characters shown of one value."""


def comparable_settings(item: StudySettings | RunSpec) -> dict[str, Any]:
    """What must be equal within a table, apart from the data's own fingerprint.

    Where the images lie, and from where weights are loaded, may differ: the fingerprint tells
    data apart, and each row names its weights.
    """
    data = item.data.model_dump(mode="json", exclude={"path", "image_size"})
    if item.data.source != "demo":
        data.pop("demo")
    size: int | str = OF_EACH_RUN
    if not item.several_sizes:
        size = item.image_size if isinstance(item, RunSpec) else item.data.shown_size
    # Probes of a selection leave the test split alone: no report is of them.
    evaluate = item.evaluate if isinstance(item, RunSpec) else "test"
    protocol = protocol_settings(size, item.model, item.train)
    return {"data": data, "evaluate": evaluate, **protocol}


def settings_of_spec(spec: RunSpec) -> dict[str, str]:
    """All settings of a run as text, by dotted key, as `--set` takes it if it is a config key."""
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
            "start": {
                "weights": spec.weights.name,
                "origin": spec.weights.origin,
                "sha256": spec.weights.sha256[:12],
            },
        }
    )


# They stand in a run's name, or change no numbers.
_ASIDE = {
    *("study", "architecture", "seed", "device", "measure", "tracking.weights"),
    *("data.path", "data.classes", "start.origin"),
}
# What follows from other settings is shown only if none of those differs.
_IMPLIED = {
    "data.fingerprint": "data.",
    "start.sha256": "start.weights",
    "start.weights": "model.weights",
}


def differing_settings(specs: Sequence[RunSpec]) -> list[str]:
    """For each run, the settings in which not all of them agree: `learning_rate=0.01, epochs=3`.

    Those of training come first. Keys are shortened to their last part, unless two of those shown
    would then read alike. Texts are empty if the runs agree in all that changes numbers.
    """
    told = [settings_of_spec(spec) for spec in specs]
    keys = {key for settings in told for key in settings if not key.startswith("data.images.")}
    apart = [
        key
        for key in sorted(keys - _ASIDE, key=lambda key: (not key.startswith("train."), key))
        if len({settings.get(key, ABSENT) for settings in told}) > 1
    ]
    for implied, prefix in _IMPLIED.items():
        if any(key.startswith(prefix) and key != implied for key in apart):
            apart = [key for key in apart if key != implied]
    last = [key.rpartition(".")[2] for key in apart]
    names = [
        short if last.count(short) == 1 else key for short, key in zip(last, apart, strict=True)
    ]
    return [_shown(names, [settings.get(key, ABSENT) for key in apart]) for settings in told]


def _shown(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [
        f"{name}={value if len(value) <= MAX_VALUE else f'{value[:MAX_VALUE]}…'}"
        for name, value in zip(names, values, strict=True)
    ]
    more = len(pairs) - MAX_SHOWN
    return ", ".join([*pairs[:MAX_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as text, by dotted key."""
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
