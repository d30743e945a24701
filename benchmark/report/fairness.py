"""The fairness card: which runs had the same pictures, order and steps, by hash, and which not."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmark.record import RunRecord
from benchmark.report.collect import Comparison

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
    """Of id, pixels, label and split of every picture."""
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
    usual = {key: _most(_traits(record)[key] for record in records) for key in _TRAITS}
    cards = []
    for record in records:
        beside = [other for other in records if other.spec.seed == record.spec.seed]
        # Early stopping ends runs at different epochs: what all of them have is compared.
        common = min(len(other.training.draws) for other in beside)
        draws = _short("".join(record.training.draws[:common])) if common else "-"
        traits = _traits(record)
        differs = [
            text.format(traits[key]) for key, text in _TRAITS.items() if traits[key] != usual[key]
        ]
        expected = _most(
            _short("".join(other.training.draws[:common])) if common else "-" for other in beside
        )
        if draws != expected:
            differs.append("other order or augmentation than the runs of its seed")
        differs += _own_marks(record)
        cards.append(
            Fairness(
                run=record.spec.name,
                data=record.spec.data_summary.fingerprint[:12],
                recipe=record.spec.protocol_id,
                draws=draws,
                steps=record.training.steps,
                epochs=len(record.training.epochs),
                differs=tuple(differs),
            )
        )
    return cards


_TRAITS = {
    "weights": "weights {}",
    "precision": "body in {}",
    "image_size": "{} px",
    "device": "on {}",
    "torch": "torch {}",
    "route": "trained on {}",
}
"""What most runs of a comparison share, and how it is told where one does not."""


def _traits(record: RunRecord) -> dict[str, str]:
    spec = record.spec
    return {
        # Names of files and repositories differ with the architecture; what they are need not.
        "weights": spec.weights.origin,
        "precision": spec.precision,
        "image_size": str(spec.data.image_size),
        "device": record.environment.device,
        "torch": record.environment.versions.get("torch", "unknown"),
        "route": record.training.route,
    }


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
