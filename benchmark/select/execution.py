"""Execution options of a selection, and time reserved from its budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.report.pick_rule import NO_CRITERIA, Criteria

FINAL_STEPS_S = 12.0
"""Seconds reserved after the last run, for the table and MLflow."""
ROUNDED_UP = 1.1
"""Margin on a suggested budget, so that it is still sufficient next time."""


@dataclass(frozen=True)
class Options:
    """Execution options of a selection, which do not affect its result."""

    workers: int = 2
    retry_failed: bool = False
    dry_run: bool = False
    check_sample: int = 0
    """Number of architectures to train in full for comparison; 0 for none."""
    output: Path | None = None
    """Output file: JSON for the suffix .json, else Markdown."""
    criteria: Criteria = NO_CRITERIA
    arguments: tuple[str, ...] = ()
    """Arguments for config and settings, to print in follow-up commands."""
