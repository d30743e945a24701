"""Test accuracy of a run's variants, paired with its own float32 predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.deploy import problems
from benchmark.deploy.base import Probabilities
from benchmark.deploy.variants import REFERENCE
from benchmark.errors import DeployError
from benchmark.report import statistics
from benchmark.report.analysis import resampled_figures
from benchmark.report.pairs import judged_interval
from benchmark.report.predictions import (
    RunPredictions,
    TestSet,
    read_run,
    read_test_set,
)
from benchmark.report.statistics import Resampling
from benchmark.runs import run_folder as files
from benchmark.runs.deployments import (
    PREDICTIONS,
    Accuracies,
    Artifact,
    Deployments,
    VariantAccuracy,
)
from benchmark.runs.find import FinishedRun
from clothclf.data.atomic import file_sha256, new_file
from clothclf.errors import first_line
from clothclf.results import Predictions
from clothclf.training.calibration import calibration_error, with_temperature
from clothclf.training.evaluate import predictions_table
from clothclf.training.metrics import macro_f1

SWAPPED = "predictions_swapped.npy"
"""Predictions for some images with red and blue swapped."""


@dataclass(frozen=True)
class _Measured:
    artifact: Artifact
    path: Path
    probabilities: Probabilities
    swapped: Probabilities


def store_predictions(
    run: FinishedRun,
    artifact: Artifact,
    ids: list[str],
    probabilities: Probabilities,
    swapped: Probabilities,
) -> None:
    """Store a variant's predictions for the test images, in the order of `ids`.

    Raises DeployError if they are not probabilities of the run's classes.
    """
    classes = run.record.spec.data_summary.classes
    if problem := problems.not_probabilities(probabilities, (len(ids), len(classes))):
        raise DeployError(problem)
    folder = Deployments(run.folder.path).folder(artifact)
    test = read_test_set(run.folder.path, run.record)
    positions = {image_id: number for number, image_id in enumerate(test.ids)}
    targets = test.labels[[positions[image_id] for image_id in ids]]
    table = predictions_table(Predictions(ids, targets, probabilities), classes)
    with new_file(folder / PREDICTIONS) as unfinished:
        table.to_parquet(unfinished, index=False)
    with new_file(folder / SWAPPED) as unfinished, unfinished.open("wb") as file:
        np.save(file, swapped)


def judge_variants(run: FinishedRun) -> Accuracies:
    """Pair the newest measured artifact of each variant with float32, and store the result.

    Intervals and p-values hold together for all variants of the run (max-T and Holm). Raises
    DeployError if the reference has no predictions, or ReportError if the run's files have changed.
    """
    deployments = Deployments(run.folder.path)
    test = read_test_set(run.folder.path, run.record)
    measured = _read_all(deployments, test)
    reference = measured.pop(REFERENCE, None)
    if reference is None:
        raise DeployError(f"{run.name}: variant {REFERENCE} has not been measured")
    paired = _pair(run, test, reference, list(measured.values()))
    right = reference.probabilities.argmax(axis=1) == test.labels
    own = _own_accuracy(run, test, reference)
    accuracies = Accuracies(
        run_id=run.record.run_id,
        images=len(test),
        reference=reference.artifact.sha256,
        accuracy=float(right.mean()),
        variants={REFERENCE: own, **paired},
    )
    deployments.write_accuracies(accuracies)
    return accuracies


def _read_all(deployments: Deployments, test: TestSet) -> dict[str, _Measured]:
    measured: dict[str, _Measured] = {}
    for artifact in deployments.artifacts():
        path = deployments.folder(artifact) / PREDICTIONS
        if artifact.variant not in measured and path.is_file():
            probabilities = read_variant(path, test)
            swapped: Probabilities = np.load(path.with_name(SWAPPED))
            measured[artifact.variant] = _Measured(artifact, path, probabilities, swapped)
    return measured


def read_variant(path: Path, test: TestSet) -> Probabilities:
    """Read the predictions of a variant in the order of the test set; raises DeployError."""
    try:
        table = pd.read_parquet(path).sort_values("id", kind="stable")
        shares = table[[f"p/{label}" for label in test.classes]].to_numpy(dtype=np.float32)
    except Exception as error:  # errors of pyarrow and of the system
        raise DeployError(f"{path}: cannot be read: {first_line(error)}; measure again") from None
    if tuple(table["id"].astype(str)) != test.ids:
        raise DeployError(f"{path}: has other images than the run's test split; measure again")
    probabilities: Probabilities = shares
    return probabilities


def _pair(
    run: FinishedRun, test: TestSet, reference: _Measured, others: list[_Measured]
) -> dict[str, VariantAccuracy]:
    """Compare each variant with the reference on the same images."""
    if not others:
        return {}
    resampling = Resampling(test.groups)
    images = resampling.sizes()
    float32 = reference.probabilities
    right = float32.argmax(axis=1) == test.labels
    base = _drawn(run, float32, test, resampling, images)
    drawn = [_drawn(run, item.probabilities, test, resampling, images) - base for item in others]
    rights = [item.probabilities.argmax(axis=1) == test.labels for item in others]
    differences = statistics.simultaneous_differences(
        [float(own.mean() - right.mean()) for own in rights], drawn, [None] * len(others)
    )
    exact = statistics.holm([statistics.mcnemar_of(right, own) for own in rights])
    paired = {}
    for item, paired_difference, p_value in zip(others, differences, exact, strict=True):
        interval = judged_interval(paired_difference, p_value)
        paired[item.artifact.variant] = _accuracy(
            item,
            test,
            float32,
            (interval.low, interval.high),
            p_value,
            _problem(item, float32, interval.high),
        )
    return paired


def _drawn(
    run: FinishedRun,
    probabilities: Probabilities,
    test: TestSet,
    resampling: Resampling,
    images: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Accuracy in each resampled test set [draws]."""
    predictions = RunPredictions(run.record, probabilities)
    return resampled_figures([predictions], test, resampling, images)[0]


def _problem(item: _Measured, float32: Probabilities, high: float) -> str:
    """Why a variant cannot be used; empty if it can.

    A float32 variant must predict like the run; another one may differ by its rounding.
    """
    cause = problems.mistake(item.probabilities, float32, item.swapped)
    if item.artifact.precision == "float32":
        wrong = problems.not_float32(item.probabilities, float32)
        return ": ".join(part for part in (wrong, cause) if part) if wrong else ""
    if cause:
        return cause
    if high < -problems.MAX_ACCURACY_LOSS:
        return f"it loses more than {100 * problems.MAX_ACCURACY_LOSS:g} points of accuracy"
    return problems.not_rounding(item.probabilities, float32)


def _own_accuracy(run: FinishedRun, test: TestSet, reference: _Measured) -> VariantAccuracy:
    """Compare the reference with the predictions that the run itself stored.

    They must be the same unless the run computed in another precision or on a GPU.
    """
    record = run.record
    stored = None
    if has_stored_predictions(run):
        shares = read_run(run.folder.path, record, test).probabilities
        temperature = record.training.temperature or 1.0
        stored = with_temperature(shares, temperature).astype(np.float32)
    problem = ""
    exact = record.spec.precision == "float32" and record.environment.device == "cpu"
    if stored is not None and exact:
        problem = problems.not_float32(reference.probabilities, stored)
    compared = reference.probabilities if stored is None else stored
    return _accuracy(reference, test, compared, (0.0, 0.0), 1.0, problem)


def has_stored_predictions(run: FinishedRun) -> bool:
    """Whether the run stored predictions for its test split."""
    return files.PREDICTIONS in run.record.files and run.record.spec.evaluate == "test"


def _accuracy(
    item: _Measured,
    test: TestSet,
    float32: Probabilities,
    interval: tuple[float, float],
    p_value: float,
    problem: str,
) -> VariantAccuracy:
    probabilities = item.probabilities
    own, right = (values.argmax(axis=1) == test.labels for values in (probabilities, float32))
    tolerance = problems.TOLERANCE if item.artifact.precision == "float32" else 0.0
    return VariantAccuracy(
        artifact=item.artifact.sha256,
        predictions=file_sha256(item.path),
        accuracy=float(own.mean()),
        macro_f1=macro_f1(Predictions(list(test.ids), test.labels, probabilities)),
        calibration_error=calibration_error(probabilities, test.labels),
        difference=float(own.mean() - right.mean()),
        low=interval[0],
        high=interval[1],
        mcnemar_p=p_value,
        only_run=int((right & ~own).sum()),
        only_variant=int((own & ~right).sum()),
        other_class=problems.other_classes(probabilities, float32, tolerance),
        problem=problem,
    )
