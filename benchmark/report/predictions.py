"""Saved answers of runs to their test split, side by side by image; unlike sets are refused."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.errors import ReportError
from benchmark.runs import folder as files
from benchmark.runs.folder import RunFolder
from benchmark.runs.record import RunRecord
from clothclf.errors import first_line


@dataclass(frozen=True)
class TestSet:
    """The images of a test split, in one order for all runs."""

    __test__ = False  # no case of pytest's

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    """Class numbers [n]."""
    groups: npt.NDArray[np.int64]
    """[n]; images with the same pixels share a number."""
    pixel_rows: npt.NDArray[np.int64]
    """[n]: where each stands in the array of decoded images."""
    classes: tuple[str, ...]
    pixel_hashes: tuple[str, ...] = ()
    """[n]: of each image as it was stored, whatever size it was resized to."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RunPredictions:
    """One run's answers to a test set."""

    record: RunRecord
    probabilities: npt.NDArray[np.float32]
    """[n, classes], in the test set's order."""

    @property
    def answers(self) -> npt.NDArray[np.int64]:
        """Class numbers [n]."""
        found: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return found


def has_predictions(root: Path, record: RunRecord) -> bool:
    """Whether a run has kept its answers; a record made by hand has none."""
    return files.PREDICTIONS in record.files and RunFolder.of(root, record.spec).path.is_dir()


def read_predictions(
    root: Path, records: Sequence[RunRecord]
) -> tuple[TestSet, list[RunPredictions]]:
    """The test set that all `records` share, and each one's answers in its order.

    Raises ReportError where a file is not there or not what its run wrote, or where a run answered
    other images, or images with other labels, than the first one.
    """
    folders = [RunFolder.of(root, record.spec).path for record in records]
    test = read_test_set(folders[0], records[0])
    return test, [read_run(*found, test) for found in zip(folders, records, strict=True)]


def read_test_set(folder: Path, record: RunRecord) -> TestSet:
    """The test set of one run, whose files lie in `folder`; raises as `read_predictions`."""
    path = folder / files.MANIFEST
    columns = ["id", "label", "split", "pixel_hash", "pixel_row"]
    table = _read(path, record, columns)
    table = table[table["split"] == "test"].sort_values("id", kind="stable")
    classes = record.spec.data_summary.classes
    hashes = tuple(table["pixel_hash"].astype(str))
    return TestSet(
        ids=tuple(table["id"].astype(str)),
        labels=_numbers(table["label"], classes, path),
        groups=np.unique(hashes, return_inverse=True)[1].astype(np.int64),
        pixel_rows=table["pixel_row"].to_numpy(dtype=np.int64),
        classes=classes,
        pixel_hashes=hashes,
    )


def read_run(folder: Path, record: RunRecord, test: TestSet) -> RunPredictions:
    """One run's answers in the order of `test`; raises as `read_predictions`."""
    path = folder / files.PREDICTIONS
    shares = [f"p/{label}" for label in test.classes]
    table = _read(path, record, ["id", "label", *shares]).sort_values("id", kind="stable")
    same = tuple(table["id"].astype(str)) == test.ids and np.array_equal(
        _numbers(table["label"], test.classes, path), test.labels
    )
    if not same:
        raise ReportError(
            f"{path}: answers other test images than the runs beside it, or has other labels for "
            "them; runs of different test sets cannot be compared"
        )
    return RunPredictions(record, table[shares].to_numpy(dtype=np.float32))


def _numbers(labels: pd.Series, classes: tuple[str, ...], path: Path) -> npt.NDArray[np.int64]:
    numbers = labels.map({label: number for number, label in enumerate(classes)})
    if numbers.isna().any():
        raise ReportError(f"{path}: has labels that are none of the study's classes")
    return numbers.to_numpy(dtype=np.int64)


def _read(path: Path, record: RunRecord, columns: list[str]) -> pd.DataFrame:
    """Columns of a table beside a record, whose checksum is taken of the very bytes that are read.

    A flipped bit may leave a table that can be read, with other figures.
    """
    if path.name not in record.files:
        raise ReportError(
            f"{path.parent}: the run has kept no {path.name}, so it cannot be compared"
        )
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != record.files[path.name]:
            raise ReportError(f"{path}: is not what the run wrote; `bench run` does the run again")
        return pd.read_parquet(io.BytesIO(content), columns=columns)
    except ReportError:
        raise
    except Exception as error:  # pyarrow's own, and the system's
        first = first_line(error)
        raise ReportError(
            f"{path}: cannot be read: {first}; `bench run` does the run again"
        ) from None
