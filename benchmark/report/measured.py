"""Format measured costs: latency, throughput, memory and achieved GMAC/s."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.text.numbers import inline, markdown_table, mebibytes
from clothclf.cost.measure.median import relative_half_width
from clothclf.results import MeasuredCost

COLUMNS = (
    "architecture",
    "latency, median",
    "passes, 95 % interval",
    "latency, p95",
    "GMAC/s",
    "best throughput",
    "GMAC/s at best throughput",
    "inference memory",
    "training memory",
)
"""Latency and inference memory are for one image; GMAC/s is 10^9 MACs per second."""

Measured = tuple[str, MeasuredCost, int | None]
"""Name, measurement and MACs of a row."""


def conditions(measured: MeasuredCost) -> str:
    """Device, threads, precision and image size; only equal conditions are comparable."""
    side = measured.image_size
    return f"{device_text(measured)}, {measured.precision}, {side} x {side} px"


def device_text(measured: MeasuredCost) -> str:
    """Device name, with the number of torch threads for CPU."""
    if measured.device.partition(" ")[0] != "cpu":
        return measured.device
    return f"{measured.device}, {measured.threads} thread{'s' * (measured.threads != 1)}"


def cells(name: str, measured: MeasuredCost, macs: int | None) -> list[str]:
    """Table cells of a row; `macs` are of one image."""
    batch = measured.best_batch
    return [
        name,
        f"{measured.latency_ms_median:.1f} ms{' (busy)' * bool(measured.busy)}",
        _repeats(measured),
        f"{measured.latency_ms_p95:.1f} ms",
        _achieved(measured, macs, 1),
        f"{measured.best_images_per_second:.0f} images/s at batch {batch}",
        _achieved(measured, macs, batch),
        mebibytes(measured.inference_memory_bytes),
        f"{mebibytes(measured.training_memory_bytes)} at batch {measured.training_batch_size}",
    ]


def by_conditions(rows: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Group rows by measurement conditions."""
    groups: dict[str, list[Measured]] = {}
    for row in rows:
        groups.setdefault(conditions(row[1]), []).append(row)
    return groups


def sections(rows: Sequence[Measured]) -> list[str]:
    """Markdown table for each set of conditions, with notes on busy machines."""
    parts = []
    for common, members in by_conditions(rows).items():
        parts.append(f"### Measured on {common}")
        parts.append(markdown_table([cells(*row) for row in members], COLUMNS))
        parts.append("\n".join(f"- {inline(note)}" for note in busy_notes(members)))
    return [part for part in parts if part]


def busy_notes(rows: Sequence[Measured]) -> list[str]:
    """Notes on measurements that other processes disturbed."""
    return [
        f"{name}: not comparable, the machine was busy: {measured.busy}."
        for name, measured, _ in rows
        if measured.busy
    ]


def flat(measured: MeasuredCost | None, macs: int | None) -> dict[str, object]:
    """Unrounded values for CSV and JSON; all None if nothing was measured."""
    if measured is None:
        return dict.fromkeys(FLAT_COLUMNS)
    batch = measured.best_batch
    values = (
        measured.device,
        measured.threads,
        measured.precision,
        measured.latency_ms_median,
        measured.latency_ms_p95,
        batch,
        measured.best_images_per_second,
        None if macs is None else measured.gmacs_per_second(macs, batch),
        measured.inference_memory_bytes,
        measured.training_memory_bytes,
        measured.training_batch_size,
        measured.busy,
    )
    return dict(zip(FLAT_COLUMNS, values, strict=True))


FLAT_COLUMNS = (
    "measured_on",
    "threads",
    "precision",
    "latency_ms_median",
    "latency_ms_p95",
    "best_batch",
    "best_images_per_s",
    "best_gmacs_per_s",
    "inference_memory_bytes",
    "training_memory_bytes",
    "training_batch_size",
    "busy",
)


def _repeats(measured: MeasuredCost) -> str:
    """Number of timed passes, and half the width of the median's interval."""
    half_width = relative_half_width(measured.latency_ms)
    interval = "" if half_width is None else f", median ± {100 * half_width:.1f} %"
    return f"{len(measured.latency_ms)}{interval}"


def _achieved(measured: MeasuredCost, macs: int | None, batch: int) -> str:
    return "-" if macs is None else f"{measured.gmacs_per_second(macs, batch):.1f}"
