"""Find the settings, versions and weights in which two runs or studies differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.rows import Row
from benchmark.runs.record import RunRecord
from benchmark.runs.setting_differences import ABSENT, flat, settings_of_spec


@dataclass(frozen=True)
class SettingChange:
    """A key with different values, as text."""

    key: str
    """Dotted key, in the notation of `--set` for keys of the config."""
    baseline: str
    new: str
    of: tuple[str, ...]
    """Architectures with this difference; empty for all."""

    @property
    def title(self) -> str:
        """Key, and the architectures concerned unless all are."""
        return f"{self.key} ({', '.join(self.of)})" if self.of else self.key


def settings_changed(matched: Sequence[tuple[str, Row, Row]]) -> tuple[SettingChange, ...]:
    """Compare settings and environment of the runs of each pair of rows.

    Values of several seeds are joined. A difference common to all pairs is listed once.
    """
    changes: dict[tuple[str, str, str], list[str]] = {}
    for name, baseline, new in matched:
        ours, theirs = _by_key(baseline.records), _by_key(new.records)
        for key in sorted(ours.keys() | theirs.keys()):
            values = ours.get(key, ABSENT), theirs.get(key, ABSENT)
            if values[0] != values[1]:
                changes.setdefault((key, *values), []).append(name)
    return tuple(
        SettingChange(*change, of=() if len(names) == len(matched) else tuple(names))
        for change, names in sorted(changes.items())
    )


def _by_key(records: Sequence[RunRecord]) -> dict[str, str]:
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in settings_of(record).items():
            values.setdefault(key, {})[value] = None
    return {key: ", ".join(distinct) for key, distinct in values.items()}


def settings_of(record: RunRecord) -> dict[str, str]:
    """Settings and environment of a run, by dotted key."""
    measured = {
        "training": {"route": record.training.route, "parts": record.training.parts},
        "environment": record.environment.model_dump(mode="json"),
    }
    return {**settings_of_spec(record.spec), **flat(measured)}
