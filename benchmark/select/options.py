"""How a selection is carried out, and what is set aside of its time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.report.pick import NO_CRITERIA, Criteria

ANSWERING_S = 12.0
"""After the last run: the table, and what MLflow keeps of it."""
ROUNDED_UP = 1.1
"""A budget that is named as enough is so next time, too."""


@dataclass(frozen=True)
class Options:
    """How a selection is carried out; nothing of it decides who is dropped."""

    workers: int = 2
    retry_failed: bool = False
    dry_run: bool = False
    check_sample: int = 0
    """Architectures to train in full, and compare with the selection's order; 0 for none."""
    output: Path | None = None
    """Markdown, or JSON by its ending."""
    criteria: Criteria = NO_CRITERIA
    asked: tuple[str, ...] = ()
    """The study's config and settings as arguments, to be printed with the command that follows."""
