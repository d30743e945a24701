"""Accuracy without the images whose labels an audit of the same data doubts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.report.predictions import RunPredictions, TestSet
from benchmark.runs.audits import Audit, find_audit

COLUMNS = ("architecture", "accuracy", "without suspects", "points apart")


@dataclass(frozen=True)
class WithoutSuspects:
    """Each row's accuracy on all test images and on those that are not suspected."""

    audit: Audit
    images: int
    """Test images."""
    suspected: tuple[str, ...]
    """Ids of those among them whose labels are doubted, in order of id."""
    accuracies: tuple[tuple[float, float] | None, ...]
    """By row, with and without suspects: means over its seeds; None without answers."""

    @property
    def sentence(self) -> str:
        """What suspects are, who found them, and what follows."""
        audit, count = self.audit, len(self.suspected)
        return (
            f"The labels of {count:,} of {self.images:,} test images are suspected to be wrong. "
            f"They were found by a model (a head on {audit.architecture}, weights {audit.weights}, "
            "that was trained on other images), not by people: leaving them out flatters every "
            "architecture, and most those that err as that one does."
        )


def without_suspects(
    root: Path, fingerprint: str, test: TestSet | None, answers: Sequence[Sequence[RunPredictions]]
) -> WithoutSuspects | None:
    """The accuracies of rows by their answers; None where there are none, or no audit of the data.

    Audits lie below the tracking folder `root`, by the data's fingerprint.
    """
    audit = find_audit(root, fingerprint) if test is not None else None
    if audit is None or test is None:
        return None
    doubted = {item.id for item in audit.suspects}
    stays = np.array([name not in doubted for name in test.ids])
    if not stays.any():
        return None
    accuracies = []
    for found in answers:
        right = [item.answers == test.labels for item in found]
        accuracies.append(
            (
                statistics.fmean(float(one.mean()) for one in right),
                statistics.fmean(float(one[stays].mean()) for one in right),
            )
            if right
            else None
        )
    suspected = tuple(name for name in test.ids if name in doubted)
    return WithoutSuspects(audit, len(test), suspected, tuple(accuracies))


def cells(without: WithoutSuspects, names: Sequence[str]) -> list[list[str]]:
    """The table as text, a line for each row that has answers; `names` are those of all rows."""
    return [
        [
            name,
            f"{100 * accuracies[0]:.2f} %",
            f"{100 * accuracies[1]:.2f} %",
            f"{100 * (accuracies[1] - accuracies[0]):+.2f}",
        ]
        for name, accuracies in zip(names, without.accuracies, strict=True)
        if accuracies is not None
    ]
