"""The rows of a report: each architecture's runs over all seeds, as numbers, not yet as text."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmark.report.collect import Comparison
from benchmark.runs.record import RunRecord
from clothclf.results import Cost, MeasuredCost


@dataclass(frozen=True, eq=False)
class Row:
    """One architecture with one head, size and start; figures are means over finished seeds."""

    architecture: str
    hidden: int | None
    """Width of the head's hidden layer, where it has one."""
    mode: str
    weights: str
    weights_origin: str
    precision: str
    """Of the backbone's arithmetic."""
    seeds: tuple[int, ...]
    accuracy: float
    """Share of test images answered right, 0 to 1."""
    accuracy_deviation: float | None
    """Standard deviation over seeds; None for a single one."""
    macro_f1: float
    valid_accuracy: float
    train_s: float
    """Mean training time in seconds, feature pass included also where it came from the cache."""
    epochs: float
    cost: Cost | None
    cost_fault: str
    measured: MeasuredCost | None
    """Of one seed, the first that was not disturbed: the others' are of the same network."""
    measured_fault: str
    records: tuple[RunRecord, ...]
    """Its finished runs, by seed."""
    image_size: int
    """Side of its images, in pixels."""
    sizes_differ: bool = False
    """Whether rows beside it have another size; its name then says its own."""
    status: str = "finished"

    @property
    def name(self) -> str:
        """The architecture, with its size and the head's hidden layer where these tell it apart."""
        size = f" @ {self.image_size}" if self.sizes_differ else ""
        head = "" if self.hidden is None else f" (head {self.hidden})"
        return f"{self.architecture}{size}{head}"

    @property
    def macs(self) -> int | None:
        """Headline MACs of one forward pass of one image."""
        return self.cost.macs if self.cost else None

    @property
    def features_reused(self) -> bool:
        """Whether a run of it read its features from the cache."""
        return any(record.training.reused_seconds != 0 for record in self.records)

    @property
    def train_time_known(self) -> bool:
        """Whether `train_s` has the feature pass of every run that read it from the cache."""
        return all(record.training.reused_seconds is not None for record in self.records)


def make_rows(comparison: Comparison) -> list[Row]:
    """One row for each architecture, size, head, start and precision; the most accurate first."""
    differ = len({record.spec.image_size for record in comparison.records}) > 1
    groups: dict[tuple[object, ...], list[RunRecord]] = {}
    for record in comparison.records:
        spec = record.spec
        start = (spec.weights.origin, spec.weights.sha256)
        key = (spec.architecture, spec.image_size, spec.head.hidden, *start, spec.precision)
        groups.setdefault(key, []).append(record)
    rows = (_row(records, differ) for records in groups.values())
    return sorted(rows, key=lambda row: -row.accuracy)


def _row(records: list[RunRecord], sizes_differ: bool) -> Row:
    records = sorted(records, key=lambda record: record.spec.seed)
    first = records[0]
    accuracies = [record.test.accuracy for record in records]
    measurement = _measurement(records)
    return Row(
        architecture=first.spec.architecture,
        hidden=first.spec.head.hidden,
        mode=first.spec.model.mode,
        weights=first.spec.weights.name,
        weights_origin=first.spec.weights.origin,
        precision=first.spec.precision,
        seeds=tuple(record.spec.seed for record in records),
        accuracy=statistics.fmean(accuracies),
        accuracy_deviation=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        macro_f1=statistics.fmean(record.test.macro_f1 for record in records),
        valid_accuracy=statistics.fmean(record.training.best.valid_accuracy for record in records),
        train_s=statistics.fmean(record.training.full_seconds for record in records),
        epochs=statistics.fmean(len(record.training.epochs) for record in records),
        cost=first.cost,
        cost_fault=first.cost_fault,
        measured=measurement,
        measured_fault=first.measured_fault if measurement is None else "",
        records=tuple(records),
        image_size=first.spec.image_size,
        sizes_differ=sizes_differ,
    )


def _measurement(records: list[RunRecord]) -> MeasuredCost | None:
    found = [record.measured for record in records if record.measured is not None]
    return min(found, key=lambda measured: bool(measured.busy), default=None)
