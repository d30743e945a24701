"""Every setting, version and start in which two runs, or two studies, differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.record import RunRecord
from benchmark.report.table import Row

ABSENT = "-"


@dataclass(frozen=True)
class SettingChange:
    """One key that differs; values as text."""

    key: str
    """Dotted, as `--set` takes it where it is a key of the config."""
    baseline: str
    new: str
    of: tuple[str, ...]
    """Architectures that it holds for; empty for all."""

    @property
    def title(self) -> str:
        """The key, and for which architectures alone it holds."""
        return f"{self.key} ({', '.join(self.of)})" if self.of else self.key


def settings_changed(matched: Sequence[tuple[str, Row, Row]]) -> tuple[SettingChange, ...]:
    """Compare what the runs of each pair of rows were told, and where they ran.

    Values of several seeds stand side by side. What differs alike for all pairs is said once.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, baseline, new in matched:
        ours, theirs = _by_key(baseline.records), _by_key(new.records)
        for key in sorted(ours.keys() | theirs.keys()):
            values = ours.get(key, ABSENT), theirs.get(key, ABSENT)
            if values[0] != values[1]:
                found.setdefault((key, *values), []).append(name)
    return tuple(
        SettingChange(*change, of=() if len(names) == len(matched) else tuple(names))
        for change, names in sorted(found.items())
    )


def _by_key(records: Sequence[RunRecord]) -> dict[str, str]:
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in settings_of(record).items():
            values.setdefault(key, {})[value] = None
    return {key: ", ".join(found) for key, found in values.items()}


def settings_of(record: RunRecord) -> dict[str, str]:
    """All that a run was told, by dotted key, and under what it ran."""
    spec, environment, summary = record.spec, record.environment, record.spec.data_summary
    data = spec.data.model_dump(mode="json")
    if spec.data.source != "demo":
        data.pop("demo")
    told: dict[str, Any] = {
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
        "training": {"route": record.training.route, "parts": record.training.parts},
        "environment": environment.model_dump(mode="json"),
    }
    return dict(_flat(told))


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            items += _flat(value, f"{prefix}{key}.")
        else:
            items.append((f"{prefix}{key}", _text(value)))
    return items


def _text(value: object) -> str:
    if value is None or value == "":
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
