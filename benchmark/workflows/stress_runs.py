"""Stress the runs of a study: predict its test images again under standard corruptions."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmark.config.study import StudySettings
from benchmark.errors import ReportError
from benchmark.runs.find import FinishedRun
from benchmark.runs.stress_results import StressResult, StressResults
from benchmark.workflows.winner import find_rows
from clothclf.errors import DataError, UserError, did_you_mean

Notify = Callable[[str], None]
Condition = tuple[str, int]
"""Corruption and severity."""


def find_runs(
    study: StudySettings, config: Path, patterns: Sequence[str], front: bool
) -> list[FinishedRun]:
    """Find one run of each architecture that matches a pattern, or of all; raises ReportError."""
    runs = find_rows(study, config, front)
    for pattern in patterns:
        names = [run.record.spec.architecture for run in runs]
        if not fnmatch.filter(names, pattern):
            hint = did_you_mean(pattern, names) or f" (finished: {', '.join(names)})"
            raise ReportError(f"architecture {pattern!r}: has no finished run{hint}")
    return [
        run
        for run in runs
        if not patterns
        or any(fnmatch.fnmatch(run.record.spec.architecture, pattern) for pattern in patterns)
    ]


def stress_all(runs: Sequence[FinishedRun], conditions: Sequence[Condition], notify: Notify) -> int:
    """Predict under each condition, and store the predictions beside the runs.

    Conditions that are already stored are not repeated. A run that fails is reported; the others
    continue; returns the number of failed runs. Raises the error if there is only one run.
    """
    failed = 0
    for run in runs:
        try:
            stress_run(run, conditions, notify)
        except UserError as error:
            if len(runs) == 1:
                raise
            failed += 1
            notify(str(error))
    return failed


def stress_run(run: FinishedRun, conditions: Sequence[Condition], notify: Notify) -> None:
    """Predict the corrupted test images of one run; raises UserError if files are missing."""
    from benchmark.inference.predictor import open_predictor
    from benchmark.runs.inputs import open_splits
    from clothclf.data.corruptions import VERSION, corrupt

    spec = run.record.spec
    count = spec.data_summary.images["test"]
    stored = StressResults(run.folder.path, run.record.run_id, count)
    missing = [item for item in conditions if stored.read(*item, VERSION) is None]
    if not missing:
        notify(f"{spec.name}: all {len(conditions)} conditions are stored already")
        return
    run.require_model()
    try:
        test = open_splits(spec, run.folder, notify)["test"]
        order = sorted(range(len(test)), key=lambda index: str(test.ids[index]))
        images = test.images(np.array(order))
    except (DataError, OSError, ValueError) as error:
        raise ReportError(f"{run.name}: its test images cannot be read: {error}") from None
    labels = test.targets[order]
    predictor = open_predictor(run, spec.device)
    for number, (corruption, severity) in enumerate(missing, 1):
        probabilities = predictor.probabilities(corrupt(images, corruption, severity))
        predicted = probabilities.argmax(axis=1)
        stored.write(
            StressResult(
                run_id=run.record.run_id,
                corruption=corruption,
                severity=severity,
                corruptions_version=VERSION,
                predictions=tuple(predicted.tolist()),
            )
        )
        notify(
            f"{spec.name}: {number}/{len(missing)} {corruption} {severity}: "
            f"{100 * float((predicted == labels).mean()):.2f} %"
        )


def log_runs(study: StudySettings, runs: Sequence[FinishedRun]) -> None:
    """Log accuracies under corruption to MLflow; raises TrackingError."""
    from benchmark.tracking.later_metrics import log_stress
    from benchmark.workflows.log_results import log_results

    log_results(study, runs, log_stress)
