"""Collect the runs of a study that are comparable: same protocol, same data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.config.study import StudySettings
from benchmark.runs.find import with_teachers_by_id
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import study_folders
from benchmark.runs.setting_differences import comparable_settings
from benchmark.runs.spec import RunSpec
from clothclf.settings import ArchitectureSettings

UNREADABLE = "settings that this version of bench cannot read"
"""Description of a spec that is damaged or in another format."""


@dataclass(frozen=True)
class Comparison:
    """Comparable runs: same protocol, same data."""

    records: list[RunRecord]
    failures: list[Failure]
    unfinished: list[RunSpec]
    """Runs that were started and have neither a record nor a failure."""
    refused: list[tuple[RunSpec, str]] = field(default_factory=list)
    """Runs with an invalid record, each with the reason."""

    @property
    def specs(self) -> list[RunSpec]:
        """Specs of all runs of the comparison."""
        finished = [record.spec for record in self.records]
        failed = [failure.spec for failure in self.failures]
        return [*finished, *failed, *self.unfinished, *(spec for spec, _ in self.refused)]

    @property
    def pixels(self) -> Path:
        """Path of the decoded images; they are missing if no run was trained in this store."""
        known = [record.spec.pixels for record in self.records]
        return next((path for path in known if path.is_file()), known[0])


@dataclass(frozen=True)
class Collection:
    """All runs of a study."""

    comparisons: list[Comparison]
    """Comparisons with the study's current settings; several only if the data have changed."""
    not_started: list[str]
    """Architectures and seeds of the config without a run, such as `vgg16, seed 1`."""
    elsewhere: list[str]
    """Descriptions of runs with other settings, one line per combination of settings."""


@dataclass
class _Collected:
    records: list[RunRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unfinished: list[RunSpec] = field(default_factory=list)
    refused: list[tuple[RunSpec, str]] = field(default_factory=list)

    def newest(self) -> str:
        """Time of the latest result in UTC, ISO 8601; empty without results."""
        ends = [record.finished_at for record in self.records]
        return max([*ends, *(failure.at for failure in self.failures)], default="")


def collect(study: StudySettings, root: Path) -> Collection:
    """Read all runs of a study below the tracking folder `root`."""
    here: dict[str, _Collected] = {}
    elsewhere: dict[str, int] = {}
    protocol = comparable_settings(with_teachers_by_id(study))
    for folder in study_folders(root, study.study):
        record = folder.record()
        spec = record.spec if record else folder.spec()
        if spec is None:
            elsewhere[UNREADABLE] = elsewhere.get(UNREADABLE, 0) + 1
            continue
        difference = _differences(protocol, comparable_settings(spec))
        if difference:
            elsewhere[difference] = elsewhere.get(difference, 0) + 1
            continue
        collected = here.setdefault(spec.data_summary.fingerprint, _Collected())
        failure = folder.failure()
        if record is not None:
            collected.records.append(record)
        elif failure is not None:
            collected.failures.append(failure)
        elif folder.has_ended():
            collected.refused.append((spec, folder.invalid_reason()))
        else:
            collected.unfinished.append(spec)
    ordered = sorted(here.values(), key=_Collected.newest, reverse=True)
    comparisons = [
        Comparison(item.records, item.failures, item.unfinished, item.refused) for item in ordered
    ]
    return Collection(
        comparisons=comparisons,
        not_started=_not_started(study, comparisons[0].specs if comparisons else ()),
        elsewhere=[f"{count} with {text}" for text, count in sorted(elsewhere.items())],
    )


def beside(spec: RunSpec, root: Path) -> Comparison:
    """Return the finished runs of the same study that are comparable with a run."""
    protocol, data = comparable_settings(spec), spec.data_summary.fingerprint
    others = (folder.record() for folder in study_folders(root, spec.study))
    records = [
        record
        for record in others
        if record is not None
        and record.spec.data_summary.fingerprint == data
        and not _differences(protocol, comparable_settings(record.spec))
    ]
    return Comparison(records, [], [])


def _differences(expected: dict[str, Any], other: dict[str, Any], prefix: str = "") -> str:
    """Describe the settings that differ; empty if there are none."""
    parts = []
    for key in sorted(expected.keys() | other.keys()):
        ours, theirs = expected.get(key), other.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            inner = _differences(ours, theirs, f"{prefix}{key}.")
            parts += [inner] if inner else []
        elif isinstance(theirs, dict):  # a section that the study lacks
            plain = {name: value for name, value in theirs.items() if isinstance(value, (int, str))}
            parts += [f"{prefix}{key}.{name}={value}" for name, value in plain.items()]
        elif ours != theirs:
            parts.append(f"{prefix}{key}={theirs}")
    return ", ".join(parts)


def _not_started(study: StudySettings, specs: Sequence[RunSpec]) -> list[str]:
    started = {(spec.architecture, spec.seed) for spec in specs}
    started_at = {(spec.architecture, spec.image_size, spec.seed) for spec in specs}
    return [
        f"{entry.name}{'' if size is None else f' @ {size}'}, seed {seed}"
        for entry in _plain_entries(study)
        for size in _known_sizes(study, entry)
        for seed in study.seeds
        if (entry.name, seed) not in started
        or (size is not None and (entry.name, size, seed) not in started_at)
    ]


def _plain_entries(study: StudySettings) -> Iterable[ArchitectureSettings]:
    """Return the entries without wildcards, which only timm can expand and it imports slowly."""
    return [entry for entry in study.architectures if not any(m in entry.name for m in "*?[@")]


def _known_sizes(study: StudySettings, entry: ArchitectureSettings) -> Sequence[int | None]:
    """Return an entry's image sizes, or [None] if the study has one size or timm decides."""
    sizes = entry.image_size or study.data.image_size
    if not study.several_sizes or sizes == "native":
        return [None]
    return [sizes] if isinstance(sizes, int) else list(sizes)
