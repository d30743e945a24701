"""Count many architectures, each at its default size, into a CSV file. Resumable."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clothclf.cost.count import CostRequest, cost_from_dict
from clothclf.cost.counters.registry import COUNTERS
from clothclf.cost.worker_pool import count_many_in_children
from clothclf.errors import CostError
from clothclf.results import Cost
from clothclf.settings import HeadSettings

GIB = 2**30
# Memory of a warm worker process before it counts.
BASE_GIB = 0.8


@dataclass(frozen=True)
class CatalogueRow:
    """One row of the CSV file; missing figures are empty."""

    architecture: str
    image_size: str
    """Side of the image in pixels; `heightxwidth` if it is not square."""
    params: str
    macs: str
    flops: str
    macs_by_counter: dict[str, str]
    """MACs by the counter's name; `macs_NAME` in the file."""
    verdict: str
    reason: str
    activations: str
    receptive_field: str
    training_macs: str
    """MACs of the training form if the other figures are of a different, deployed form; else
    empty."""
    training_params: str
    """Parameters of the training form, likewise."""

    @staticmethod
    def of(cost: Cost) -> CatalogueRow:
        """Create the row of a counted architecture."""

        def text(value: object) -> str:
            return "" if value is None else str(value)

        return CatalogueRow(
            architecture=cost.architecture,
            image_size=cost.size_text,
            params=text(cost.params),
            macs=text(cost.macs),
            flops=text(cost.flops),
            macs_by_counter={name: text(cost.counted_macs(name)) for name in COUNTERS},
            verdict=cost.verdict,
            reason=cost.reason,
            activations=text(cost.activations),
            receptive_field=text(cost.receptive_field),
            training_macs=text(cost.training_macs),
            training_params=text(cost.training_params),
        )

    @staticmethod
    def failed(architecture: str, reason: str) -> CatalogueRow:
        """Create the row of an architecture that could not be counted."""
        known = {"architecture": architecture, "verdict": "unchecked", "reason": reason}
        return CatalogueRow.from_cells(known)

    @staticmethod
    def from_cells(cells: Mapping[str, str]) -> CatalogueRow:
        """Create a row from the values of COLUMNS; missing ones are empty."""
        by_counter = {name: cells.get(f"macs_{name}", "") for name in COUNTERS}
        plain = {name: cells.get(name, "") for name in COLUMNS if name in _FIELDS}
        return CatalogueRow(macs_by_counter=by_counter, **plain)

    def cells(self) -> dict[str, str]:
        """Return the values of COLUMNS."""
        by_counter = {f"macs_{name}": macs for name, macs in self.macs_by_counter.items()}
        values = {**vars(self), **by_counter}
        return {name: values[name] for name in COLUMNS}


_FIELDS = [field.name for field in fields(CatalogueRow)]
_PLACE = _FIELDS.index("macs_by_counter")
COLUMNS = [*_FIELDS[:_PLACE], *(f"macs_{name}" for name in COUNTERS), *_FIELDS[_PLACE + 1 :]]
"""Columns of the file."""


def count_catalogue(
    names: Sequence[str],
    file: Path,
    workers: int,
    on_row: Callable[[CatalogueRow], None],
    quick: bool = False,
    memory_gib: float = 12.0,
) -> None:
    """Count `names` at timm's default sizes, with timm's own classifiers, into `file`.

    Resumes: rows already in the file are not counted again. New rows are appended as they are
    counted and passed to `on_row` (never concurrently); finally, the file is sorted in the order of
    `names`. A failure becomes a row with the reason. `quick` uses torch's counter only. Each of the
    `workers` is a single-threaded process; together they use at most `memory_gib`.
    """
    rows = {row.architecture: row for row in read_catalogue(file)}
    _write_all(file, list(rows.values()))
    waiting = [_own(name) for name in dict.fromkeys(names) if name not in rows]

    def add(request: CostRequest, result: Any, error: str) -> None:
        name = request.architecture
        row = CatalogueRow.failed(name, error) if error else CatalogueRow.of(cost_from_dict(result))
        rows[name] = row
        with file.open("a", newline="", encoding="utf-8") as out:
            csv.DictWriter(out, COLUMNS).writerow(row.cells())
        on_row(row)

    per_worker = int(max(memory_gib / workers - BASE_GIB, 0.5) * GIB)
    count_many_in_children("quick" if quick else "cost", waiting, workers, add, per_worker)
    order = {name: index for index, name in enumerate(names)}
    _write_all(file, sorted(rows.values(), key=lambda row: order.get(row.architecture, len(order))))


def read_catalogue(file: Path) -> list[CatalogueRow]:
    """Read the rows of a file, ignoring a truncated last line; none if there is no file.

    Columns of counters that were added since are empty. Raises CostError if the file has unknown
    columns, or lacks others.
    """
    if not file.exists() or not file.stat().st_size:
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        lacking = set(COLUMNS) - set(reader.fieldnames or ())
        if set(reader.fieldnames or ()) - set(COLUMNS) or lacking & set(_FIELDS):
            raise CostError(f"{file} is not a cost table: its columns are not {','.join(COLUMNS)}")
        return [CatalogueRow.from_cells(row) for row in reader if None not in row.values()]


def _write_all(file: Path, rows: Sequence[CatalogueRow]) -> None:
    """Replace the file atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)
    draft.replace(file)


def _own(name: str) -> CostRequest:
    """Request timm's network at its default size, with its own classifier."""
    return CostRequest(name, 0, 0, HeadSettings(), frozen=False, own_classifier=True)
