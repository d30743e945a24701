"""What a reader must know before believing a report's table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.report.analysis import Analysis
from benchmark.report.table import Row
from benchmark.report.training_notes import dominated_loss, training_notes
from benchmark.text.numbers import deployed_note

MAX_NAMES = 8
"""Architectures that a caveat names."""
FEW_IMAGES = 50
"""Below it the bootstrap's intervals hold what they should in less than 95 of 100 cases."""


def caveats(analysis: Analysis) -> list[str]:
    """What a reader must know before believing the table, a sentence each."""
    comparison, rows = analysis.comparison, analysis.rows
    lines = []
    if comparison.specs[0].data_summary.synthetic:
        lines.append("The images are drawn: these figures say nothing about real ones.")
    images = comparison.specs[0].data_summary.images["test"]
    if len(rows) > 1 and not analysis.pairs:
        apart = 100 * chance_difference(rows[0].accuracy, images)
        lines.append(
            f"On {images:,} test images, accuracies less than about {apart:.1f} points apart may "
            "differ by chance."
        )
    if analysis.test is not None and images < FEW_IMAGES:
        lines.append(f"On fewer than {FEW_IMAGES} test images intervals come out too narrow.")
    if rows and all(len(row.seeds) == 1 for row in rows):
        lines.append(
            "One seed each: what another seed would give is not known, and in no interval."
        )
    random = [row.name for row in rows if row.weights_origin == "random"]
    if random:
        notes = {s.weights.note for s in comparison.specs if s.weights.note}
        why = f" ({'; '.join(sorted(notes))})" if notes else ""
        which = "all" if len(random) == len(rows) else ", ".join(random)
        lines.append(f"Weights are random for {which}{why}.")
        if len(random) < len(rows):
            lines.append("Rows with random and with pretrained weights are different studies.")
    busy = [row.name for row in rows if row.measured and row.measured.busy]
    if busy:
        lines.append(
            "Other processes used the machine while latency and throughput were measured, so they "
            f"are not ranked: {', '.join(busy)}."
        )
    lines += _reused_features(rows)
    costs = [(row.name, row.cost) for row in rows if row.cost]
    two_forms = deployed_note([(name, it.training_macs, it.training_params) for name, it in costs])
    lines += [two_forms] if two_forms else []
    if comparison.specs[0].model.precision == "auto":
        lines += [f"Bodies computed in {which}." for which in _by_precision(rows)]
    return [*lines, *_training_caveats(analysis), *(f"{note}." for note in analysis.notes)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _training_caveats(analysis: Analysis) -> list[str]:
    """Signs that a recipe does not suit an architecture, which then looks worse than it is."""
    found: dict[str, list[str]] = {}
    for row in analysis.rows:
        for record in row.records:
            spec = record.spec
            name = row.name if len(row.seeds) == 1 else f"{row.name} seed {spec.seed}"
            classes = len(spec.data_summary.classes)
            for note in training_notes(record.training, spec.train.epochs, classes):
                found.setdefault(note, []).append(name)
    lines = [f"{_listed(names)}: {note}." for note, names in found.items()]
    dominated = [
        f"{row.name} (mean {loss[0]:.3g}, median {loss[1]:.2g})"
        for row, predicted in zip(analysis.rows, analysis.answers, strict=True)
        if analysis.test is not None
        and predicted
        and (loss := dominated_loss(predicted[0].probabilities, analysis.test.labels))
    ]
    if dominated:
        lines.append(f"A few images make most of the mean test loss of {_listed(dominated)}.")
    return lines


def _reused_features(rows: Sequence[Row]) -> list[str]:
    """What the training time of rows holds whose runs read their features from the cache."""
    reused = [row for row in rows if row.features_reused]
    known = [row.name for row in reused if row.train_time_known]
    unknown = [row.name for row in reused if not row.train_time_known]
    told = {
        "the training time includes their computation as first measured": known,
        "how long they took is not known, so the training time is without them and is not ranked": (
            unknown
        ),
    }
    return [
        f"Features of {'all' if len(names) == len(rows) else _listed(names)} came from the cache; "
        f"{text}."
        for text, names in told.items()
        if names
    ]


def _by_precision(rows: Sequence[Row]) -> list[str]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.precision, []).append(row.name)
    return [f"{precision}: {', '.join(found)}" for precision, found in names.items()]


def chance_difference(accuracy: float, images: int) -> float:
    """How far apart two such accuracies may lie by chance alone (95 %, binomial, unpaired)."""
    return 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / images)
