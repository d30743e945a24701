"""Who enters a selection: what was asked for, sized up, without what is too large or unfit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.planning.architectures import ArchitectureMatch, find_architectures
from benchmark.planning.weights import weights_of
from benchmark.select.selection import Candidate
from clothclf.errors import UserError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

Notify = Callable[[str], None]


def find_candidates(
    study: StudySettings, asked: Sequence[str], cache: Path, notify: Notify
) -> tuple[tuple[Candidate, ...], dict[str, Weights]]:
    """All that is asked for, and where the parameters of those that enter come from.

    What is beyond `study.selection`, cannot take its size or has no weights is left out with its
    reason. Counts are kept below `cache`. Raises UserError for names that are not known, and
    where nothing is left.
    """
    found = find_architectures(study, asked, cache, notify, leave_out_unfit=True)
    several = len({item.image_size for item in found}) > 1
    weights, faults = resolve_weights([item.entry for item in found if not item.out], study)
    for note in sorted({item.note for item in weights.values() if item.note}):
        notify(f"weights are random: {note}")
    return tuple(_candidate(item, several, faults) for item in found), weights


def _candidate(item: ArchitectureMatch, several: bool, faults: dict[str, str]) -> Candidate:
    name = item.entry.name
    return Candidate(
        name=f"{name} @ {item.image_size}" if several else name,
        architecture=item.entry,
        macs=item.macs,
        training_macs=item.training_macs,
        params=item.params,
        out=item.out or faults.get(name, ""),
    )


def resolve_weights(
    entries: Sequence[ArchitectureSettings], study: StudySettings
) -> tuple[dict[str, Weights], dict[str, str]]:
    """Where each architecture's parameters come from, and why where they cannot be had."""
    resolve = weights_of(study)
    weights: dict[str, Weights] = {}
    faults: dict[str, str] = {}
    for entry in entries:
        try:
            weights[entry.name] = resolve(entry)
        except UserError as error:
            faults[entry.name] = str(error)
    return weights, faults
