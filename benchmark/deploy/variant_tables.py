"""Write measured variants as tables, Markdown, CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmark.deploy.deploy import DeployedRun
from benchmark.report.deployed import (
    COLUMNS,
    RowVariants,
    VariantVerdict,
    by_device,
    cells,
    judge,
    variant_values,
)
from benchmark.text.numbers import inline, markdown_table
from clothclf.csv_text import csv_text

Table = tuple[str, tuple[str, ...], list[list[str]]]
"""Title, columns and rows."""


def verdicts_of(run: DeployedRun, margin: float) -> list[VariantVerdict]:
    """Judge all variants of a run; `margin` is that of equivalence, 0 to 1."""
    return judge(run.deployed, margin)


def tables(runs: Sequence[DeployedRun], margin: float) -> list[Table]:
    """One table for each run and device."""
    result: list[Table] = []
    for run in runs:
        name = run.finished.record.spec.name
        rows = [RowVariants(name, tuple(verdicts_of(run, margin)))]
        for device, verdicts in by_device(rows).items():
            title = f"{name} on {device}, {run.accuracies.images:,} test images"
            result.append((title, COLUMNS, [cells(verdict) for _, verdict in verdicts]))
    return result


def sentences(runs: Sequence[DeployedRun], margin: float) -> list[str]:
    """A verdict for each variant on each device, then the variants that were skipped."""
    lines = []
    for run in runs:
        prefix = f"{run.finished.record.spec.name}: " if len(runs) > 1 else ""
        verdicts = verdicts_of(run, margin)
        devices = {verdict.item.timing.device.name for verdict in verdicts}
        for verdict in verdicts:
            on = f"on {verdict.item.timing.device.name}: " if len(devices) > 1 else ""
            lines.append(f"{prefix}{on}{verdict.sentence}")
        lines += [f"{prefix}Skipped {name}: {why}." for name, why in run.skipped.items()]
        lines += [
            f"{prefix}{name} was measured on a busy machine: {why}."
            for name, why in _busy(verdicts)
        ]
    return lines


def _busy(verdicts: Sequence[VariantVerdict]) -> list[tuple[str, str]]:
    items = [verdict.item for verdict in verdicts]
    return [(item.artifact.variant, item.timing.busy) for item in items if item.timing.busy]


def as_markdown(runs: Sequence[DeployedRun], margin: float) -> str:
    """Render as Markdown."""
    parts = ["# Deployed variants"]
    for title, columns, rows in tables(runs, margin):
        parts += [f"## {inline(title)}", markdown_table(rows, columns)]
    parts.append("\n".join(f"- {inline(line)}" for line in sentences(runs, margin)))
    return "\n\n".join(parts) + "\n"


def as_json(runs: Sequence[DeployedRun], margin: float) -> str:
    """Render as JSON with unrounded values."""
    values = {
        "margin": margin,
        "runs": [
            {
                "run_id": run.finished.record.run_id,
                "name": run.finished.record.spec.name,
                "images": run.accuracies.images,
                "float32_accuracy": run.accuracies.accuracy,
                "variants": [variant_values(verdict) for verdict in verdicts_of(run, margin)],
                "skipped": run.skipped,
            }
            for run in runs
        ],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def as_csv(runs: Sequence[DeployedRun], margin: float) -> str:
    """Render one line for each variant and device."""
    entries = [
        {"run": run.finished.record.spec.name, **variant_values(verdict)}
        for run in runs
        for verdict in verdicts_of(run, margin)
    ]
    columns = dict.fromkeys(key for entry in entries for key in entry)
    return csv_text(list(columns), ([entry[key] for key in columns] for entry in entries))
