"""Rows of a report: numbers of each architecture, aggregated over seeds."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass

from benchmark.report.collect import Comparison
from benchmark.runs.record import RunRecord
from clothclf.results import Cost, MeasuredCost
from clothclf.training.metrics import METRICS


@dataclass(frozen=True)
class OnTarget:
    """Measured cost of a row's fastest usable variant on the device that the user chose."""

    variant: str
    conditions: str
    """Device, processor and threads; only equal ones are comparable."""
    latency_ms: float
    """Median latency of one decoded image in milliseconds."""
    images_per_second: float
    """Throughput at the best batch size."""
    memory_bytes: int | None


@dataclass(frozen=True, eq=False)
class Row:
    """One architecture with one head, image size and weights; values are means over seeds."""

    architecture: str
    hidden: int | None
    """Width of the head's hidden layer; None without one."""
    mode: str
    weights: str
    weights_origin: str
    precision: str
    """Numeric precision of the backbone."""
    seeds: tuple[int, ...]
    metrics: dict[str, float]
    """Test metrics that all seeds have, by name in `training.metrics`."""
    accuracy_deviation: float | None
    """Standard deviation over seeds; None for a single seed."""
    valid_accuracy: float
    train_s: float
    """Mean training time in seconds, including the feature pass even if it was cached."""
    epochs: float
    cost: Cost | None
    cost_error: str
    measured: MeasuredCost | None
    """Measurement of the first seed on an idle machine; all seeds have the same network."""
    measured_error: str
    records: tuple[RunRecord, ...]
    """Finished runs, sorted by seed."""
    image_size: int
    """Image side in pixels."""
    sizes_differ: bool = False
    """Whether rows have different image sizes; the name then includes the size."""
    status: str = "finished"
    target: str | None = None
    """Device that the user chose, whose figures then replace those of `measured`."""
    on_target: OnTarget | None = None
    """Figures on that device; None if no usable variant was measured there when idle."""
    price: float | None = None
    """Price of a million images, in the currency of `--price-per-hour`; None if unknown."""

    @property
    def name(self) -> str:
        """Architecture, with image size and head width where rows differ in them."""
        size = f" @ {self.image_size}" if self.sizes_differ else ""
        head = "" if self.hidden is None else f" (head {self.hidden})"
        return f"{self.architecture}{size}{head}"

    @property
    def accuracy(self) -> float:
        """Test accuracy, 0 to 1."""
        return self.metrics["accuracy"]

    @property
    def macro_f1(self) -> float:
        """Test macro-F1, 0 to 1."""
        return self.metrics["macro_f1"]

    @property
    def macs(self) -> int | None:
        """MACs of one forward pass of one image."""
        return self.cost.macs if self.cost else None

    @property
    def features_reused(self) -> bool:
        """Whether any run read its features from the cache."""
        return any(record.training.reused_seconds != 0 for record in self.records)

    @property
    def train_time_known(self) -> bool:
        """Whether `train_s` includes the feature pass of every run that read cached features."""
        return all(record.training.reused_seconds is not None for record in self.records)


def make_rows(comparison: Comparison) -> list[Row]:
    """One row for each architecture, size, head, weights and precision, most accurate first."""
    differ = len({record.spec.image_size for record in comparison.records}) > 1
    processors_differ = len({_processor(record) for record in comparison.records} - {None}) > 1
    groups: dict[tuple[object, ...], list[RunRecord]] = {}
    for record in comparison.records:
        spec = record.spec
        start = (spec.weights.origin, spec.weights.sha256)
        key = (spec.architecture, spec.image_size, spec.head.hidden, *start, spec.precision)
        groups.setdefault(key, []).append(record)
    rows = (_row(records, differ, processors_differ) for records in groups.values())
    return sorted(rows, key=lambda row: -row.accuracy)


def _row(records: list[RunRecord], sizes_differ: bool, processors_differ: bool) -> Row:
    records = sorted(records, key=lambda record: record.spec.seed)
    first = records[0]
    accuracies = [record.test.accuracy for record in records]
    measurement = _measurement(records, processors_differ)
    return Row(
        architecture=first.spec.architecture,
        hidden=first.spec.head.hidden,
        mode=first.spec.model.mode,
        weights=first.spec.weights.name,
        weights_origin=first.spec.weights.origin,
        precision=first.spec.precision,
        seeds=tuple(record.spec.seed for record in records),
        metrics={
            name: statistics.fmean(record.test.metrics[name] for record in records)
            for name in METRICS
            if all(name in record.test.metrics for record in records)
        },
        accuracy_deviation=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        valid_accuracy=statistics.fmean(record.training.best.valid_accuracy for record in records),
        train_s=statistics.fmean(record.training.full_seconds for record in records),
        epochs=statistics.fmean(len(record.training.epochs) for record in records),
        cost=first.cost,
        cost_error=first.cost_error,
        measured=measurement,
        measured_error=first.measured_error if measurement is None else "",
        records=tuple(records),
        image_size=first.spec.image_size,
        sizes_differ=sizes_differ,
    )


def _measurement(records: list[RunRecord], processors_differ: bool) -> MeasuredCost | None:
    """Return the first measurement on an idle machine, with its processor if they differ."""
    known = [
        dataclasses.replace(record.measured, device=f"cpu {processor}")
        if processors_differ and (processor := _processor(record)) is not None
        else record.measured
        for record in records
        if record.measured is not None
    ]
    return min(known, key=lambda measured: bool(measured.busy), default=None)


def _processor(record: RunRecord) -> str | None:
    """Return the processor that a run was measured on; None on a GPU, or without measurement."""
    if record.measured is None or record.measured.device != "cpu":
        return None
    return record.environment.processor
