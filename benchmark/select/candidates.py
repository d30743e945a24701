"""Find the candidates of a selection: resolve architectures, exclude unsuitable ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.config.study import StudySettings
from benchmark.planning.architecture_names import ArchitectureMatch, find_architectures
from benchmark.planning.initial_weights import weights_of
from benchmark.select.selection_state import Candidate
from clothclf.errors import UserError
from clothclf.results import Weights
from clothclf.settings import ArchitectureSettings

Notify = Callable[[str], None]


def find_candidates(
    study: StudySettings, patterns: Sequence[str], cache: Path, notify: Notify
) -> tuple[tuple[Candidate, ...], dict[str, Weights]]:
    """Find all requested candidates, and the weights of those that enter.

    Candidates that exceed `study.selection`, do not support their image size or have no weights
    are marked as excluded with the reason. Counts are cached below `cache`. Raises UserError for
    unknown names, and if nothing is left.
    """
    matches = find_architectures(study, patterns, cache, notify, leave_out_unfit=True)
    sizes_differ = len({item.image_size for item in matches}) > 1
    weights, errors = resolve_weights([item.entry for item in matches if not item.out], study)
    for note in sorted({item.note for item in weights.values() if item.note}):
        notify(f"weights are random: {note}")
    return tuple(_candidate(item, sizes_differ, errors) for item in matches), weights


def _candidate(item: ArchitectureMatch, sizes_differ: bool, errors: dict[str, str]) -> Candidate:
    name = item.entry.name
    return Candidate(
        name=f"{name} @ {item.image_size}" if sizes_differ else name,
        architecture=item.entry,
        macs=item.macs,
        training_macs=item.training_macs,
        params=item.params,
        out=item.out or errors.get(name, ""),
    )


def resolve_weights(
    entries: Sequence[ArchitectureSettings], study: StudySettings
) -> tuple[dict[str, Weights], dict[str, str]]:
    """Resolve weights by architecture name, and errors of those not available."""
    resolve = weights_of(study)
    weights: dict[str, Weights] = {}
    errors: dict[str, str] = {}
    for entry in entries:
        try:
            weights[entry.name] = resolve(entry)
        except UserError as error:
            errors[entry.name] = str(error)
    return weights, errors
