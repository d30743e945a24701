"""Count many architectures, each at its own size, into one CSV file that can be gone on with."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clothclf.cost.count import CostRequest, cost_from_dict
from clothclf.cost.worker_pool import ask_many
from clothclf.errors import CostError
from clothclf.results import Cost
from clothclf.settings import HeadSettings

GIB = 2**30
# What a warm counting process weighs before it counts.
BASE_GIB = 0.8


@dataclass(frozen=True)
class CatalogueRow:
    """One line of the file; empty where there is no figure."""

    architecture: str
    image_size: str
    """Side of the image in pixels; `heightxwidth` where it is no square."""
    params: str
    macs: str
    flops: str
    macs_flopth: str
    macs_fvcore: str
    macs_torch: str
    verdict: str
    reason: str
    activations: str
    receptive_field: str
    training_macs: str
    """Where macs, flops, params and activations are of another, deployed form; else empty."""
    training_params: str

    @staticmethod
    def of(cost: Cost) -> CatalogueRow:
        """The row of one count."""

        def text(value: object) -> str:
            return "" if value is None else str(value)

        return CatalogueRow(
            architecture=cost.architecture,
            image_size=cost.size_text,
            params=text(cost.params),
            macs=text(cost.macs),
            flops=text(cost.flops),
            macs_flopth=text(cost.flopth.macs),
            macs_fvcore=text(cost.fvcore.macs),
            macs_torch=text(cost.torch.macs),
            verdict=cost.verdict,
            reason=cost.reason,
            activations=text(cost.activations),
            receptive_field=text(cost.receptive_field),
            training_macs=text(cost.training_macs),
            training_params=text(cost.training_params),
        )

    @staticmethod
    def failed(architecture: str, reason: str) -> CatalogueRow:
        """The row of an architecture that could not be counted."""
        blank = {field.name: "" for field in fields(CatalogueRow)}
        told = {"architecture": architecture, "verdict": "unchecked", "reason": reason}
        return CatalogueRow(**{**blank, **told})


COLUMNS = [field.name for field in fields(CatalogueRow)]


def count_catalogue(
    names: Sequence[str],
    file: Path,
    workers: int,
    on_row: Callable[[CatalogueRow], None],
    quick: bool = False,
    memory_gib: float = 12.0,
) -> None:
    """Count `names` at timm's own sizes, with timm's own classifiers, into `file`.

    Rows that the file holds already are kept and not counted again; the rest are added as they
    come (`on_row` is told of each, from one thread at a time), and at the end the file is put in
    the order of `names`. What fails is a row with the reason. `quick` asks torch's counter alone.
    Each of the `workers` is a process of one thread; together they stay within `memory_gib`.
    """
    rows = {row.architecture: row for row in read_catalogue(file)}
    _write_all(file, list(rows.values()))
    waiting = [_own(name) for name in dict.fromkeys(names) if name not in rows]

    def keep(request: CostRequest, answer: Any, fault: str) -> None:
        name = request.architecture
        row = CatalogueRow.failed(name, fault) if fault else CatalogueRow.of(cost_from_dict(answer))
        rows[name] = row
        with file.open("a", newline="", encoding="utf-8") as out:
            csv.DictWriter(out, COLUMNS).writerow(vars(row))
        on_row(row)

    each = int(max(memory_gib / workers - BASE_GIB, 0.5) * GIB)
    ask_many("quick" if quick else "cost", waiting, workers, keep, each)
    order = {name: place for place, name in enumerate(names)}
    _write_all(file, sorted(rows.values(), key=lambda row: order.get(row.architecture, len(order))))


def read_catalogue(file: Path) -> list[CatalogueRow]:
    """The rows of a file; none where there is no file, and without a last line that was cut off.

    Raises CostError where the file is something else.
    """
    if not file.exists() or not file.stat().st_size:
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if reader.fieldnames != COLUMNS:
            raise CostError(f"{file} is no table of costs: its columns are not {','.join(COLUMNS)}")
        return [CatalogueRow(**row) for row in reader if None not in row.values()]


def _write_all(file: Path, rows: Sequence[CatalogueRow]) -> None:
    """Write the whole file at once, so that it is never half there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)
    draft.replace(file)


def _own(name: str) -> CostRequest:
    """timm's own network: its size, its classifier."""
    return CostRequest(name, 0, 0, HeadSettings(), frozen=False, own_classifier=True)
