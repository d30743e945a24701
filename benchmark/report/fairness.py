"""The fairness card: which runs had the same images, order and steps, by hash, and which not."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.report.collect import Comparison
from benchmark.runs.record import RunRecord

COLUMNS = (
    "run",
    "data and split",
    "recipe",
    "order and augmentation",
    "steps",
    "epochs",
    "what differs",
)


@dataclass(frozen=True)
class Fairness:
    """What one run was given, as hashes: where two are equal, so is what they stand for."""

    run: str
    data: str
    """Of id, pixels, label and split of every image."""
    recipe: str
    """Of the settings that runs of a comparison share."""
    draws: str
    """Of order, mirrors and crops in the epochs that all runs of this seed have."""
    steps: int | None
    """Optimiser steps that were taken; None where an older record does not say."""
    epochs: int
    differs: tuple[str, ...]
    """What is not as it is for most runs beside it, in words."""

    def cells(self) -> list[str]:
        """A row of a table as text."""
        steps = "-" if self.steps is None else f"{self.steps:,}"
        differs = "; ".join(self.differs) or "nothing"
        return [self.run, self.data, self.recipe, self.draws, steps, str(self.epochs), differs]


def fairness(comparison: Comparison) -> list[Fairness]:
    """A card for each finished run, by name."""
    if not comparison.records:
        return []
    records = sorted(comparison.records, key=lambda record: (record.spec.name, record.run_id))
    traits = [_traits(record) for record in records]
    usual = {key: _most(own[key] for own in traits) for key in _TRAITS}
    by_seed: dict[int, list[RunRecord]] = {}
    for record in records:
        by_seed.setdefault(record.spec.seed, []).append(record)
    draws = {seed: _common_draws(beside) for seed, beside in by_seed.items()}
    return [
        _card(record, own, usual, draws[record.spec.seed])
        for record, own in zip(records, traits, strict=True)
    ]


def _common_draws(records: Sequence[RunRecord]) -> dict[str, str]:
    """By run_id, a hash of the draws of the epochs that all of these runs have."""
    # Early stopping ends runs at different epochs: what all of them have is compared.
    common = min(len(record.training.draws) for record in records)
    return {
        record.run_id: _short("".join(record.training.draws[:common])) if common else "-"
        for record in records
    }


def _card(
    record: RunRecord, own: dict[str, str], usual: dict[str, str], draws: dict[str, str]
) -> Fairness:
    differs = [text.format(own[key]) for key, text in _TRAITS.items() if own[key] != usual[key]]
    if draws[record.run_id] != _most(draws.values()):
        differs.append("other order or augmentation than the runs of its seed")
    return Fairness(
        run=record.spec.name,
        data=record.spec.data_summary.fingerprint[:12],
        recipe=record.spec.protocol_id,
        draws=draws[record.run_id],
        steps=record.training.steps,
        epochs=len(record.training.epochs),
        differs=(*differs, *_own_marks(record)),
    )


_TRAITS = {
    "weights": "weights {}",
    "precision": "body in {}",
    "image_size": "{} px",
    "device": "on {}",
    "torch": "torch {}",
    "route": "trained on {}",
    "processes": "trained by {}",
}
"""What most runs of a comparison share, and how it is told where one does not."""


def _traits(record: RunRecord) -> dict[str, str]:
    spec = record.spec
    return {
        # Names of files and repositories differ with the architecture; what they are need not.
        "weights": spec.weights.origin,
        "precision": spec.precision,
        "image_size": str(spec.image_size),
        "device": record.environment.device,
        "torch": record.environment.versions.get("torch", "unknown"),
        "route": record.training.route,
        "processes": _processes(record.environment.processes),
    }


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes together"


def _own_marks(record: RunRecord) -> list[str]:
    training = record.training
    marks = []
    if training.parts > 1:
        marks.append(f"each batch in {training.parts} parts, for want of memory")
    if training.stopped_early:
        marks.append(f"stopped early, after {len(training.epochs)} epochs")
    return marks


def _most(values: Iterable[str]) -> str:
    counts = Counter(values)
    return max(sorted(counts), key=lambda value: counts[value])


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
