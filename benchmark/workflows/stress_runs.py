"""Stress the runs of a study: predict its test images again under standard corruptions."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs.find import FoundRun
from benchmark.runs.stress_results import StressResult, StressResults
from benchmark.workflows.winner import find_rows
from clothclf.errors import DataError, UserError, did_you_mean

Notify = Callable[[str], None]
Condition = tuple[str, int]
"""Corruption and severity."""


def find_runs(
    study: StudySettings, config: Path, patterns: Sequence[str], front: bool
) -> list[FoundRun]:
    """Find one run of each architecture that matches a pattern, or of all; raises ReportError."""
    runs = find_rows(study, config, front)
    for pattern in patterns:
        names = [found.record.spec.architecture for found in runs]
        if not fnmatch.filter(names, pattern):
            hint = did_you_mean(pattern, names) or f" (finished: {', '.join(names)})"
            raise ReportError(f"architecture {pattern!r}: has no finished run{hint}")
    return [
        found
        for found in runs
        if not patterns
        or any(fnmatch.fnmatch(found.record.spec.architecture, pattern) for pattern in patterns)
    ]


def stress_all(runs: Sequence[FoundRun], conditions: Sequence[Condition], notify: Notify) -> int:
    """Predict under each condition, and store the predictions beside the runs.

    Conditions that are already stored are not repeated. A run that fails is reported, and the
    others go on; returns the number of failed runs. Raises the error if there is only one run.
    """
    failed = 0
    for found in runs:
        try:
            stress_run(found, conditions, notify)
        except UserError as error:
            if len(runs) == 1:
                raise
            failed += 1
            notify(str(error))
    return failed


def stress_run(found: FoundRun, conditions: Sequence[Condition], notify: Notify) -> None:
    """Predict the corrupted test images of one run; raises UserError if it has lost its files."""
    from benchmark.inference.predictor import open_predictor
    from benchmark.runs.inputs import open_splits
    from clothclf.data.corruptions import VERSION, corrupt

    spec = found.record.spec
    count = spec.data_summary.images["test"]
    stored = StressResults(found.folder.path, found.record.run_id, count)
    missing = [item for item in conditions if stored.read(*item, VERSION) is None]
    if not missing:
        notify(f"{spec.name}: all {len(conditions)} conditions are stored already")
        return
    found.require_model()
    try:
        test = open_splits(spec, found.folder, notify)["test"]
        order = sorted(range(len(test)), key=lambda place: str(test.ids[place]))
        images = test.images(np.array(order))
    except (DataError, OSError, ValueError) as error:
        raise ReportError(f"{found.name}: its test images cannot be read: {error}") from None
    labels = test.targets[order]
    predictor = open_predictor(found, spec.device)
    for number, (corruption, severity) in enumerate(missing, 1):
        probabilities = predictor.probabilities(corrupt(images, corruption, severity))
        answers = probabilities.argmax(axis=1)
        stored.write(
            StressResult(
                run_id=found.record.run_id,
                corruption=corruption,
                severity=severity,
                corruptions_version=VERSION,
                predictions=tuple(answers.tolist()),
            )
        )
        notify(
            f"{spec.name}: {number}/{len(missing)} {corruption} {severity}: "
            f"{100 * float((answers == labels).mean()):.2f} %"
        )


def log_runs(study: StudySettings, runs: Sequence[FoundRun]) -> None:
    """Log accuracies under corruption to MLflow; raises TrackingError."""
    from benchmark.tracking.later_metrics import log_stress
    from benchmark.workflows.log_results import log_results

    log_results(study, runs, log_stress)
