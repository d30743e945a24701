"""Fairness table: show by hash which runs had the same images, order and training steps."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.report.collect import Comparison
from benchmark.report.tuned_settings import budget_text
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
    """Inputs of one run as hashes; equal hashes mean equal inputs."""

    run: str
    data: str
    """Hash of id, pixels, label and split of every image."""
    recipe: str
    """Hash of the settings that all runs of a comparison share."""
    draws: str
    """Hash of order and augmentation in the epochs that all runs of this seed completed."""
    steps: int | None
    """Optimizer steps; None if an older record does not store them."""
    epochs: int
    trials: str
    """Budget of tuning, in words; empty without tuning."""
    differs: tuple[str, ...]
    """Differences from most other runs, as text."""

    def cells(self) -> list[str]:
        """Table cells of this run."""
        steps = "-" if self.steps is None else f"{self.steps:,}"
        differs = "; ".join(self.differs) or "nothing"
        epochs = f"{self.epochs} after {self.trials}" if self.trials else str(self.epochs)
        return [self.run, self.data, self.recipe, self.draws, steps, epochs, differs]


def fairness(comparison: Comparison) -> list[Fairness]:
    """One entry for each finished run, sorted by name."""
    if not comparison.records:
        return []
    records = sorted(comparison.records, key=lambda record: (record.spec.name, record.run_id))
    traits = [_traits(record) for record in records]
    usual = {key: _most_common(own[key] for own in traits) for key in _TRAITS}
    by_seed: dict[int, list[RunRecord]] = {}
    for record in records:
        by_seed.setdefault(record.spec.seed, []).append(record)
    draws = {seed: _common_draws(same_seed) for seed, same_seed in by_seed.items()}
    return [
        _card(record, own, usual, draws[record.spec.seed])
        for record, own in zip(records, traits, strict=True)
    ]


def _common_draws(records: Sequence[RunRecord]) -> dict[str, str]:
    """Hash of the draws in the epochs that all of these runs completed, by run_id."""
    # Early stopping ends runs at different epochs, so only the common ones are compared.
    common = min(len(record.training.draws) for record in records)
    return {
        record.run_id: _short("".join(record.training.draws[:common])) if common else "-"
        for record in records
    }


def _card(
    record: RunRecord, own: dict[str, str], usual: dict[str, str], draws: dict[str, str]
) -> Fairness:
    differs = [text.format(own[key]) for key, text in _TRAITS.items() if own[key] != usual[key]]
    if draws[record.run_id] != _most_common(draws.values()):
        differs.append("order or augmentation differs from other runs with this seed")
    return Fairness(
        run=record.spec.name,
        data=record.spec.data_summary.fingerprint[:12],
        recipe=record.spec.protocol_id,
        draws=draws[record.run_id],
        steps=record.training.steps,
        epochs=len(record.training.epochs),
        trials=budget_text(record),
        differs=(*differs, *_own_marks(record)),
    )


_TRAITS = {
    "weights": "weights {}",
    "precision": "backbone precision {}",
    "image_size": "{} px",
    "device": "on {}",
    "torch": "torch {}",
    "route": "trained on {}",
    "processes": "trained by {}",
}
"""Properties that most runs of a comparison share, with the text for a run that differs."""


def _traits(record: RunRecord) -> dict[str, str]:
    spec = record.spec
    return {
        # Weight names differ between architectures; only their origin is comparable.
        "weights": spec.weights.origin,
        "precision": spec.precision,
        "image_size": str(spec.image_size),
        "device": record.environment.device,
        "torch": record.environment.versions.get("torch", "unknown"),
        "route": record.training.route,
        "processes": _processes(record.environment.processes),
    }


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


def _own_marks(record: RunRecord) -> list[str]:
    training = record.training
    marks = []
    if training.parts > 1:
        marks.append(f"each batch split into {training.parts} parts to fit in memory")
    if training.stopped_early:
        marks.append(f"early stopping after {len(training.epochs)} epochs")
    return marks


def _most_common(values: Iterable[str]) -> str:
    counts = Counter(values)
    return max(sorted(counts), key=lambda value: counts[value])


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
