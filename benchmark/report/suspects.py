"""Accuracy without the images whose labels an audit of the same data suspects."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.report.predictions import RunPredictions, TestSet
from benchmark.report.sections import Section, SectionTable
from benchmark.runs.audits import HOW_TO_CORRECT, Audit, find_audit

if TYPE_CHECKING:
    from benchmark.report.analysis import Analysis

COLUMNS = ("architecture", "accuracy", "without suspects", "difference (points)")


@dataclass(frozen=True)
class WithoutSuspects:
    """Accuracy of each row on all test images and on those without suspected label errors."""

    audit: Audit
    images: int
    """Number of test images."""
    suspected: tuple[str, ...]
    """Ids of test images with suspected labels, sorted."""
    accuracies: tuple[tuple[float, float] | None, ...]
    """Accuracy with and without suspects by row, mean over seeds; None without predictions."""

    @property
    def sentence(self) -> str:
        """Explain the suspects, how they were found and how to read the accuracies."""
        audit, count = self.audit, len(self.suspected)
        return (
            f"{count:,} of {self.images:,} test images have suspected label errors. They were "
            f"found by a model ({audit.heads_text}, trained on other images), not by people. "
            "Excluding them inflates every accuracy, most of all for architectures that make the "
            "same errors as that model."
        )


def without_suspects(
    root: Path,
    fingerprint: str,
    test: TestSet | None,
    predictions: Sequence[Sequence[RunPredictions]],
) -> WithoutSuspects | None:
    """Compute accuracies from predictions; None without predictions or without an audit.

    Audits are stored below the tracking folder `root`, by the data's fingerprint.
    """
    audit = find_audit(root, fingerprint) if test is not None else None
    if audit is None or test is None:
        return None
    suspected_ids = {item.id for item in audit.suspects}
    is_clean = np.array([name not in suspected_ids for name in test.ids])
    if not is_clean.any():
        return None
    accuracies = []
    for runs in predictions:
        correct = [item.predicted == test.labels for item in runs]
        accuracies.append(
            (
                statistics.fmean(float(one.mean()) for one in correct),
                statistics.fmean(float(one[is_clean].mean()) for one in correct),
            )
            if correct
            else None
        )
    suspected = tuple(name for name in test.ids if name in suspected_ids)
    return WithoutSuspects(audit, len(test), suspected, tuple(accuracies))


def section(analysis: Analysis) -> Section | None:
    """Accuracies of all rows with predictions, and the suspects; None without an audit."""
    without = analysis.without
    if without is None:
        return None
    cells = [
        [
            row.name,
            f"{100 * accuracies[0]:.2f} %",
            f"{100 * accuracies[1]:.2f} %",
            f"{100 * (accuracies[1] - accuracies[0]):+.2f}",
        ]
        for row, accuracies in zip(analysis.rows, without.accuracies, strict=True)
        if accuracies is not None
    ]
    found_by = without.audit.model_dump(mode="json", exclude={"check", "version", "suspects"})
    values = {"sentence": without.sentence, "found_by": found_by, "test": list(without.suspected)}
    table = SectionTable("Without suspected label errors", COLUMNS, cells)
    action = [HOW_TO_CORRECT] if without.audit.suspects else []
    return Section(" ".join([without.sentence, *action]), [table], values=values)


def flat(analysis: Analysis, index: int) -> dict[str, object]:
    """Accuracy of a row without suspects; empty unless the data has been audited."""
    if analysis.without is None:
        return {}
    accuracies = analysis.without.accuracies[index]
    return {"test_accuracy_without_suspects": accuracies and accuracies[1]}
