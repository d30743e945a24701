"""Compare the costs of a baseline and a new run, where a ratio is meaningful."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from benchmark.report.measured import conditions
from benchmark.report.rows import Row
from benchmark.text.numbers import duration, giga, millions
from clothclf.results import MeasuredCost


@dataclass(frozen=True)
class CostChange:
    """One cost of both sides; None if unknown."""

    key: str
    """Name of the cost; `--fail-if` accepts macs, params and latency."""
    title: str
    baseline: float | None
    new: float | None
    text: Callable[[float], str]
    """Formats a value with its unit."""
    incomparable: str
    """Reason why there is no ratio; empty if there is one."""

    @property
    def ratio(self) -> float | None:
        """New divided by baseline; None if not comparable or unknown."""
        if self.incomparable or self.baseline is None or self.new is None:
            return None
        return self.new / self.baseline


def cost_changes(baseline: Row, new: Row) -> tuple[CostChange, ...]:
    """MACs, parameters, latency and training time of two rows."""
    uncounted = _uncounted(baseline) or _uncounted(new)
    no_macs = uncounted or _no_macs(baseline) or _no_macs(new)
    params, new_params = (row.cost.params if row.cost else None for row in (baseline, new))
    incomparable = _why_latency_incomparable(baseline, new)
    latency, new_latency = (
        row.measured.latency_ms_median if row.measured else None for row in (baseline, new)
    )
    return (
        CostChange("macs", "MACs", baseline.macs, new.macs, _giga, no_macs),
        CostChange("params", "parameters", params, new_params, _millions, uncounted),
        CostChange("latency", "latency", latency, new_latency, _milliseconds, incomparable),
        CostChange(
            "time",
            "training time",
            baseline.train_s,
            new.train_s,
            duration,
            _no_feature_pass(baseline)
            or _no_feature_pass(new)
            or _why_training_incomparable(baseline, new),
        ),
    )


def _milliseconds(time: float) -> str:
    return f"{time:.2f} ms"


def _giga(count: float) -> str:
    return giga(round(count))


def _millions(count: float) -> str:
    return millions(round(count))


def _uncounted(row: Row) -> str:
    return "" if row.cost else f"costs of {row.name} were not counted: {row.cost_error}"


def _no_macs(row: Row) -> str:
    return "" if row.macs else f"MACs of {row.name} are unknown"


def _why_latency_incomparable(baseline: Row, new: Row) -> str:
    """Reason why two latencies are not comparable; empty if they are."""
    one, other = baseline.measured, new.measured
    if one is None or other is None:
        return f"{(baseline if one is None else new).name} was not measured"
    for row, measured in ((baseline, one), (new, other)):
        if measured.busy:
            return f"{row.name} was measured on a busy machine: {measured.busy}"
    measured_on = [
        _conditions(row, measurement) for row, measurement in ((baseline, one), (new, other))
    ]
    return (
        ""
        if measured_on[0] == measured_on[1]
        else f"measured on {measured_on[0]} and on {measured_on[1]}"
    )


def _conditions(row: Row, measured: MeasuredCost) -> str:
    """Conditions of the measurement, with the processor model for CPU."""
    device, _, processor = measured.device.partition(" ")
    if device != "cpu":
        return conditions(measured)
    if not processor:  # rows name it only where processors differ
        record = next(record for record in row.records if record.measured is measured)
        processor = record.environment.processor
    return f"{processor}, {conditions(dataclasses.replace(measured, device=device))}"


def _no_feature_pass(row: Row) -> str:
    if row.train_time_known:
        return ""
    return f"{row.name} read its features from the cache, and their computation time is unknown"


def _why_training_incomparable(baseline: Row, new: Row) -> str:
    machines = [
        {
            (
                item.device,
                item.processes,
                item.threads,
                item.processor if item.device == "cpu" else "",
            )
            for item in (record.environment for record in row.records)
        }
        for row in (baseline, new)
    ]
    return (
        ""
        if machines[0] == machines[1]
        else "trained on different machines or with a different number of processes"
    )
