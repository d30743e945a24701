"""Caveats: limits on how a report's results can be interpreted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.report.analysis import Analysis
from benchmark.report.rows import Row
from benchmark.report.training_notes import dominated_loss, training_notes
from benchmark.report.tuned_settings import edge_note
from benchmark.text.numbers import deployed_note

MAX_NAMES = 8
"""Maximum number of architectures that a caveat names."""
FEW_IMAGES = 50
"""Below this number of test images, bootstrap intervals cover less than 95 %."""


def caveats(analysis: Analysis) -> list[str]:
    """Caveats of a comparison, one sentence each."""
    comparison, rows = analysis.comparison, analysis.rows
    lines = []
    if comparison.specs[0].data_summary.synthetic:
        lines.append(
            "The images are drawn, so results do not transfer to real images: run the study on "
            "yours (data.source)."
        )
    data, column = comparison.specs[0].data_summary, comparison.specs[0].data.split.group
    if data.groups_across_splits:
        lines.append(
            f"{data.groups_across_splits:,} of {data.groups:,} groups of {column} have images in "
            "several of the given splits, which may raise the test accuracy; data.split.given: "
            "ignore draws splits that keep groups together."
        )
    images = data.images["test"]
    if len(rows) > 1 and not analysis.pairs:
        apart = 100 * chance_difference(rows[0].accuracy, images)
        lines.append(
            f"With {images:,} test images, differences in accuracy below about {apart:.1f} points "
            "may be due to chance."
        )
    clusters = images if analysis.test is None else len(set(analysis.test.groups.tolist()))
    if analysis.test is not None and clusters < FEW_IMAGES:
        what = "test images" if images < FEW_IMAGES else "independent groups of test images"
        lines.append(f"With fewer than {FEW_IMAGES} {what}, intervals are too narrow.")
    if rows and all(len(row.seeds) == 1 for row in rows):
        lines.append(
            "One seed per architecture: intervals do not include the variation between trainings; "
            "add seeds (--seed 0 --seed 1 --seed 2)."
        )
    random = [row.name for row in rows if row.weights_origin == "random"]
    if random:
        notes = {s.weights.note for s in comparison.specs if s.weights.note}
        why = f" ({'; '.join(sorted(notes))})" if notes else ""
        which = "all" if len(random) == len(rows) else ", ".join(random)
        lines.append(
            f"Weights are random for {which}{why}; pretrained ones usually change the order "
            "(model.weights)."
        )
        if len(random) < len(rows):
            lines.append("Do not compare rows with random and rows with pretrained weights.")
    busy = [row.name for row in rows if row.measured and row.measured.busy]
    if busy:
        lines.append(
            "Other processes used the machine while latency and throughput were measured; these "
            f"values are not ranked: {', '.join(busy)}. Run them on an idle machine to rank them."
        )
    lines += _different_devices(rows)
    lines += _reused_features(rows)
    costs = [(row.name, row.cost) for row in rows if row.cost]
    two_forms = deployed_note([(name, it.training_macs, it.training_params) for name, it in costs])
    lines += [two_forms] if two_forms else []
    if comparison.specs[0].model.precision == "auto":
        lines += [f"Backbone precision {which}." for which in _by_precision(rows)]
    return [*lines, *_training_caveats(analysis), *(f"{note}." for note in analysis.notes)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _different_devices(rows: Sequence[Row]) -> list[str]:
    """Name the devices of the runs, if they have several: GPUs, or models of processors."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for record in row.records:
            environment = record.environment
            device = (
                environment.device
                if environment.device != "cpu"
                else f"cpu {environment.processor}".strip()
            )
            names.setdefault(device, []).append(record.spec.name)
    if len(names) <= 1:
        return []
    devices = "; ".join(f"{device}: {_listed(sorted(names[device]))}" for device in sorted(names))
    return [f"Runs were trained on different devices, so their times differ. {devices}."]


def _training_caveats(analysis: Analysis) -> list[str]:
    """Signs that a recipe does not suit an architecture and understates its accuracy."""
    names_by_note: dict[str, list[str]] = {}
    for row in analysis.rows:
        for record in row.records:
            spec = record.spec
            name = row.name if len(row.seeds) == 1 else f"{row.name} seed {spec.seed}"
            classes = len(spec.data_summary.classes)
            notes = training_notes(record.training, spec.train.epochs, classes)
            for note in [*notes, *edge_note(record)]:
                names_by_note.setdefault(note, []).append(name)
    lines = [f"{_listed(names)}: {note}." for note, names in names_by_note.items()]
    dominated = [
        f"{row.name} (mean {loss[0]:.3g}, median {loss[1]:.2g})"
        for row, predicted in zip(analysis.rows, analysis.predictions, strict=True)
        if analysis.test is not None
        and predicted
        and (loss := dominated_loss(predicted[0].probabilities, analysis.test.labels))
    ]
    if dominated:
        lines.append(f"A few images dominate the mean test loss of {_listed(dominated)}.")
    return lines


def _reused_features(rows: Sequence[Row]) -> list[str]:
    """What training time includes for rows that read features from the cache."""
    reused = [row for row in rows if row.features_reused]
    known = [row.name for row in reused if row.train_time_known]
    unknown = [row.name for row in reused if not row.train_time_known]
    texts = {
        "training time includes their computation as first measured": known,
        "their computation time is unknown, so training time excludes it and is not ranked": (
            unknown
        ),
    }
    return [
        f"Features of {'all' if len(names) == len(rows) else _listed(names)} were read from the "
        f"cache; {text}."
        for text, names in texts.items()
        if names
    ]


def _by_precision(rows: Sequence[Row]) -> list[str]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.precision, []).append(row.name)
    return [f"{precision}: {', '.join(members)}" for precision, members in names.items()]


def chance_difference(accuracy: float, images: int) -> float:
    """Difference of two accuracies that chance alone explains (95 %, binomial, unpaired)."""
    return 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / images)
