"""Registry of columns that can be ranked, plotted or limited: key, unit and direction.

Every metric of `clothclf.training.metrics` is a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.report.measured import conditions
from benchmark.report.rows import Row
from clothclf.training.metrics import METRICS, Metric


@dataclass(frozen=True)
class Column:
    """One column of the report."""

    key: str
    """Name in options: `--front accuracy,latency`."""
    title: str
    """Title with unit, for axes and table headers."""
    higher_is_better: bool
    of: Callable[[Row], float | None]
    """Value in the unit of the title; None if not measured or measured on a busy machine."""
    log: bool = False
    """Whether to use a logarithmic axis."""

    def loss(self, value: float) -> float:
        """Value with the sign that makes lower better."""
        return -value if self.higher_is_better else value


def _latency(row: Row) -> float | None:
    if row.target is not None:
        return row.on_target.latency_ms if row.on_target else None
    measured = row.measured
    return None if measured is None or measured.busy else measured.latency_ms_median


def _throughput(row: Row) -> float | None:
    if row.target is not None:
        return row.on_target.images_per_second if row.on_target else None
    measured = row.measured
    return None if measured is None or measured.busy else measured.best_images_per_second


def _memory(row: Row) -> float | None:
    if row.target is not None:
        used = row.on_target.memory_bytes if row.on_target else None
        return used / 2**20 if used else None
    return row.measured.inference_memory_bytes / 2**20 if row.measured else None


def _training_time(row: Row) -> float | None:
    return row.train_s if row.train_time_known else None


def _of_metric(metric: Metric) -> Column:
    def value(row: Row) -> float | None:
        return metric.scaled(row.metrics.get(metric.name))

    return Column(metric.option, metric.axis_title, metric.higher_is_better, value)


COLUMNS = {
    column.key: column
    for column in (
        *map(_of_metric, METRICS.values()),
        Column("macs", "MACs (G)", False, lambda row: row.macs / 1e9 if row.macs else None, True),
        Column(
            "params",
            "parameters (M)",
            False,
            lambda row: row.cost.params / 1e6 if row.cost else None,
            True,
        ),
        Column("latency", "latency, one image (ms)", False, _latency, True),
        Column("throughput", "throughput (images/s)", True, _throughput, True),
        Column("memory", "inference memory (MiB)", False, _memory, True),
        Column("time", "training time (s)", False, _training_time, True),
        Column("price", "price of a million images", False, lambda row: row.price, True),
    )
}

MEASURED = frozenset({"latency", "throughput", "memory", "price"})
"""Keys of columns that are comparable only under the same measurement conditions."""


def pareto_front(
    rows: Sequence[Row], gain: Column = COLUMNS["accuracy"], cost: Column = COLUMNS["macs"]
) -> list[Row]:
    """Rows that no other row dominates, best by `cost` first.

    Rows without one of the values are skipped. Of rows equal in both, the first is kept.
    """
    known = [
        (cost.loss(c), gain.loss(g), row)
        for row in rows
        if (c := cost.of(row)) is not None and (g := gain.of(row)) is not None
    ]
    front: list[Row] = []
    lowest_loss = float("inf")
    for _, loss, row in sorted(known, key=lambda item: item[:2]):
        if loss < lowest_loss:
            front.append(row)
            lowest_loss = loss
    return front


def share_conditions(rows: Sequence[Row]) -> bool:
    """Whether all measurements on an idle machine were made under the same conditions."""
    return len({run for row in rows if (run := measured_under(row)) is not None}) <= 1


def measured_under(row: Row) -> tuple[str, str] | None:
    """Conditions and processor of a row's measurement; None without one on an idle machine."""
    if row.target is not None:
        return (row.on_target.conditions, "") if row.on_target else None
    if row.measured is None or row.measured.busy:
        return None
    return conditions(row.measured), row.records[0].environment.processor
