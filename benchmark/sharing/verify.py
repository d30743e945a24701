"""Verify shared runs: every figure that follows from others is computed again and compared."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from benchmark.errors import PackError
from benchmark.report.predictions import (
    Split,
    TestSet,
    probabilities,
    read_run,
    read_table,
    read_test_set,
    shares_of,
)
from benchmark.runs import run_folder as files
from benchmark.runs.curve_results import LearningCurve
from benchmark.runs.record import Failure, Rejection, RunRecord
from benchmark.runs.shareable import is_shareable
from benchmark.runs.stress_results import StressResult
from benchmark.sharing.agreement import same
from benchmark.sharing.tables import is_finite, is_time, require_table
from clothclf.data.dataset import MANIFEST_COLUMNS, duplicate_statistics, fingerprint
from clothclf.data.groups import GROUP_COLUMNS
from clothclf.errors import UserError, first_line
from clothclf.results import DataSummary, Predictions
from clothclf.training.metrics import class_results, compute_metrics, confusion_matrix

SUM_ROUNDING = 1e-3
"""Maximum difference from 1 of the sum of an image's probabilities, stored as float32."""
VALID_POINTS = 0.01
"""Maximum difference of the validation accuracy of the best epoch and of the stored predictions:
batch size and folded norms may change the class of an image in doubt."""

_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunVerifier:
    """Verifies runs by their records and tables; runs with the same manifest read it once."""

    def __init__(self) -> None:
        """Start without any manifest."""
        self._manifests: dict[str, tuple[str, dict[str, Any]]] = {}
        self._sets: dict[tuple[str, Split, tuple[str, ...]], TestSet] = {}

    def verify(self, record: RunRecord, folder: Path) -> None:
        """Verify a record and the tables in `folder`, which holds nothing else of the run.

        Raises PackError, with one sentence, if a figure does not follow from the predictions, the
        run_id from the settings, or the fingerprint from the manifest; or if the record has paths.
        """
        spec = record.spec
        where = f"run {spec.name[:120]} ({record.run_id})"
        try:
            for problem in _problems_of_record(record):
                raise PackError(problem)
            self._verify_tables(record, folder)
        except ValidationError:
            raise PackError(f"{where}: its settings are not valid without paths") from None
        except UserError as error:
            text = str(error).replace(f"{folder}/", "").replace(str(folder), "its folder")
            raise PackError(f"{where}: {text.partition('; `bench run`')[0]}") from None
        except Exception as error:  # of pyarrow and pandas: cells may be of any type
            first = first_line(error)[:200]
            raise PackError(f"{where}: one of its tables cannot be read: {first}") from None

    def _verify_tables(self, record: RunRecord, folder: Path) -> None:
        data = record.spec.data_summary
        sha256 = record.files[files.MANIFEST]
        if sha256 not in self._manifests:
            path = folder / files.MANIFEST
            require_table(path, MANIFEST_COLUMNS, sum(data.images.values()), GROUP_COLUMNS)
            self._manifests[sha256] = _facts(pd.read_parquet(path))
        found, facts = self._manifests[sha256]
        if found != data.fingerprint:
            raise PackError(f"its manifest has the fingerprint {found}, not {data.fingerprint}")
        for name, value in facts.items():
            if getattr(data, name) != value:
                raise PackError(f"data_summary.{name} is not that of its manifest")
        if not all(data.images.values()):
            raise PackError("one of its splits has no image")
        _verify_test(record, self._predictions(record, folder, record.spec.evaluate))
        if files.VALID_PREDICTIONS in record.files:
            _verify_validation(record, self._predictions(record, folder, "valid"))

    def _predictions(self, record: RunRecord, folder: Path, split: Split) -> Predictions:
        """Read the predictions that a run stored for a split, whatever the name of their file."""
        classes = record.spec.data_summary.classes
        # A probe of a selection stores its validation predictions as those of its test split.
        name: Split = "test" if split == record.spec.evaluate else "valid"
        path = folder / (files.PREDICTIONS if name == "test" else files.VALID_PREDICTIONS)
        columns = ["id", "label", "answer", *shares_of(classes)]
        require_table(path, columns, record.spec.data_summary.images[split])
        key = (record.files[files.MANIFEST], split, classes)
        if key not in self._sets:
            self._sets[key] = read_test_set(folder, record, split)
        test = self._sets[key]
        table = read_table(path, record, columns)
        shares = probabilities(table, test, path, name)
        if len(set(test.ids)) != len(test.ids):
            raise PackError(f"{path.name} has an image twice")
        if not (np.isfinite(shares).all() and (shares >= 0).all()):
            raise PackError(f"{path.name} has values that are no probabilities")
        if np.abs(shares.sum(axis=1) - 1).max(initial=0) > SUM_ROUNDING:
            raise PackError(f"{path.name} has probabilities that do not add up to 1")
        if table["answer"].to_pylist() != [classes[place] for place in shares.argmax(axis=1)]:
            raise PackError(f"{path.name} has answers that are not the most probable classes")
        return Predictions(list(test.ids), test.labels, shares)


def verify_reason(run: Failure | Rejection, known: Mapping[str, DataSummary]) -> None:
    """Raise PackError unless a run without figures is of its settings, and has no paths.

    `known` are the data of verified runs by fingerprint, which those of the run must be.
    """
    where = f"run {run.spec.name[:120]} ({run.run_id})"
    try:
        if not is_shareable(run):
            raise PackError(f"{where}: its reason or settings have paths, or are too long")
    except ValidationError:
        raise PackError(f"{where}: its settings are not valid without paths") from None
    problems = [*_problems_of_spec(run)]
    if isinstance(run, Failure) and not is_time(run.at):
        problems.append(f"{run.at[:40]!r} is not a time with a time zone")
    own = run.spec.data_summary
    data = known.get(own.fingerprint, own)
    if (own.images, own.classes, own.images_per_class) != (
        data.images, data.classes, data.images_per_class,
    ):  # fmt: skip
        problems.append("its data_summary is not that of the other runs on these data")
    if problems:
        raise PackError(f"{where}: {problems[0]}")


def _problems_of_spec(run: RunRecord | Failure | Rejection) -> Iterable[str]:
    """Yield what is wrong with the settings of a run, by themselves."""
    if run.run_id != run.spec.run_id:
        yield f"its settings have the run_id {run.spec.run_id}"
    if not _STUDY.fullmatch(run.spec.study):
        yield f"its study {run.spec.study[:80]!r} is no name of a study"
    if not is_finite(run.model_dump(mode="python")):
        yield "it has a number that is not finite"


def _problems_of_record(record: RunRecord) -> Iterable[str]:
    """Yield what is wrong with a record, by itself."""
    training = record.training
    yield from _problems_of_spec(record)
    if not is_shareable(record):
        yield "its record has paths, tags or files that packs do not have"
    if not {files.MANIFEST, files.PREDICTIONS} <= record.files.keys():
        yield "it did not store its manifest and predictions, so its figures cannot be verified"
    for text in (record.started_at, record.finished_at):
        if not is_time(text):
            yield f"{text[:40]!r} is not a time with a time zone"
    numbers = [epoch.epoch for epoch in training.epochs]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        yield "its epochs are not numbered from 1"
    elif not 1 <= training.best_epoch <= len(numbers):
        yield "its best epoch is not one of its epochs"
    elif training.best.valid_loss > min(epoch.valid_loss for epoch in training.epochs):
        yield "its best epoch is not the one with the lowest validation loss"
    yield from _problems_of_cost(record)


def _problems_of_cost(record: RunRecord) -> Iterable[str]:
    cost, measured = record.cost, record.measured
    if cost is not None:
        if cost.architecture != record.spec.architecture:
            yield "its cost is that of another architecture"
        counted = cost.counters.get("torch")
        own = cost.macs if cost.training_macs is None else cost.training_macs
        if counted is not None and counted.macs != own:
            yield "its MACs are not those of the counter"
        operators = counted.by_operator if counted is not None else {}
        if operators and sum(operators.values()) != own:
            yield "its MACs by operator do not add up"
    if measured is not None:
        passes = measured.latency_ms or (measured.latency_ms_median,)
        if not same(measured.latency_ms_median, statistics.median(passes)):
            yield "its latency is not the median of its passes"


def _verify_test(record: RunRecord, predictions: Predictions) -> None:
    """Raise PackError unless the evaluation is that of the predictions."""
    known, classes = record.test, record.spec.data_summary.classes
    confusion = confusion_matrix(predictions)
    if known.images != len(predictions.ids):
        raise PackError("its number of test images is not that of its predictions")
    if known.confusion != tuple(tuple(row) for row in confusion.tolist()):
        raise PackError("its confusion matrix is not that of its predictions")
    computed = compute_metrics(predictions)
    for name, value in known.metrics.items():
        if name not in computed or not same(value, computed[name]):
            other = f"{computed[name]:.6g}" if name in computed else "none"
            raise PackError(f"test {name} is {value:.6g}, and {other} by its predictions")
    for own, right in zip(known.per_class, class_results(confusion, classes), strict=False):
        figures = ((own.precision, right.precision), (own.recall, right.recall), (own.f1, right.f1))
        if (own.label, own.images) != (right.label, right.images) or not all(
            same(*pair) for pair in figures
        ):
            raise PackError(f"its results of class {right.label[:80]!r} are not its predictions'")
    if len(known.per_class) != len(classes):
        raise PackError("its results by class are not those of its classes")


def _verify_validation(record: RunRecord, predictions: Predictions) -> None:
    right = predictions.probabilities.argmax(axis=1) == predictions.targets
    accuracy, best = float(right.mean()), record.training.best.valid_accuracy
    if abs(accuracy - best) > VALID_POINTS + 1 / len(right):
        raise PackError(
            f"its validation accuracy is {best:.4f}, and {accuracy:.4f} by its predictions"
        )


def verify_curve(curve: LearningCurve, record: RunRecord, folder: Path) -> None:
    """Raise PackError unless a learning curve is of this run, whose tables are in `folder`."""
    problem = "its learning curve is of another run"
    if curve.run_id == record.run_id and curve.test_images == record.test.images:
        problem = "" if curve.is_valid() else "its learning curve is damaged"
    if not problem:
        test = read_test_set(folder, record)
        right = read_run(folder, record, test).predicted == test.labels
        for point in curve.points:
            if point.share == 1 and not np.array_equal(point.hits(len(right)), right):
                problem = "the last point of its learning curve is not the run itself"
    if problem:
        raise PackError(f"run {record.spec.name[:120]} ({record.run_id}): {problem}")


def verify_stress(result: StressResult, record: RunRecord, name: str) -> None:
    """Raise PackError unless stress predictions are of this run, by the name of their file."""
    classes = len(record.spec.data_summary.classes)
    if (
        f"{result.corruption}-{result.severity}.json" != name
        or result.run_id != record.run_id
        or len(result.predictions) != record.test.images
        or max(result.predictions, default=0) >= classes
    ):
        raise PackError(f"run {record.spec.name[:120]} ({record.run_id}): {name} is of another run")


def _facts(manifest: pd.DataFrame) -> tuple[str, dict[str, Any]]:
    """Fingerprint of a manifest, and the fields of `DataSummary` that follow from it."""
    splits, labels = manifest["split"].value_counts(), manifest["label"].value_counts()
    return fingerprint(manifest), {
        "images": {name: int(splits.get(name, 0)) for name in ("train", "valid", "test")},
        "images_per_class": {str(label): int(count) for label, count in labels.items()},
        "classes": tuple(sorted(manifest["label"].unique())),
        **duplicate_statistics(manifest),
    }
