"""Figures of rows on the device that the user chose, and the price of images there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmark.errors import ReportError
from benchmark.report.columns import COLUMNS
from benchmark.report.deployed import (
    RowVariants,
    VariantVerdict,
    device_text,
    fastest_usable,
)
from benchmark.report.rows import OnTarget, Row
from clothclf.errors import did_you_mean

IMAGES = 1_000_000
SECONDS_PER_HOUR = 3600


def with_target(
    rows: Sequence[Row],
    deployed: Sequence[RowVariants],
    target: str | None,
    price_per_hour: float | None,
) -> list[Row]:
    """Return the rows with their figures on `target`, and with prices if that of an hour is known.

    Each row has the fastest variant on the device that can replace the run without a loss of
    accuracy.
    """
    variants = {item.row: item.verdicts for item in deployed}
    updated = []
    for row in rows:
        if target is not None:
            fastest = fastest_usable(variants.get(row.name, ()), target)
            on_target = None if fastest is None else _on_target(fastest)
            row = dataclasses.replace(row, target=target, on_target=on_target)
        updated.append(dataclasses.replace(row, price=_price(row, price_per_hour)))
    return updated


def _on_target(verdict: VariantVerdict) -> OnTarget:
    timing = verdict.item.timing
    return OnTarget(
        variant=verdict.item.artifact.variant,
        conditions=device_text(timing.device),
        latency_ms=timing.latency_ms_median,
        images_per_second=timing.images_per_second,
        memory_bytes=timing.memory_bytes,
    )


def _price(row: Row, price_per_hour: float | None) -> float | None:
    throughput = COLUMNS["throughput"].of(row)
    if price_per_hour is None or not throughput:
        return None
    return price_per_hour * IMAGES / (throughput * SECONDS_PER_HOUR)


def require_target(deployed: Sequence[RowVariants], target: str) -> None:
    """Raise ReportError unless some row has been measured on a device."""
    known = sorted(
        {verdict.item.timing.device.name for item in deployed for verdict in item.verdicts}
    )
    if target not in known:
        listed = f"measured on: {', '.join(known)}" if known else "`bench deploy` measures one"
        hint = did_you_mean(target, known) or f" ({listed})"
        raise ReportError(f"--target {target}: no architecture was measured on it{hint}")
