"""Read the predictions of several runs, aligned by image; different test sets are an error."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from benchmark.errors import ReportError
from benchmark.runs import run_folder as files
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder
from clothclf.data.groups import GROUP_COLUMNS, clusters
from clothclf.errors import first_line

Split = Literal["test", "valid"]
FILES: dict[Split, str] = {"test": files.PREDICTIONS, "valid": files.VALID_PREDICTIONS}
"""File of a run's predictions for each split."""
NAMES: dict[Split, str] = {"test": "test", "valid": "validation"}
"""Name of each split in messages."""


@dataclass(frozen=True)
class TestSet:
    """The images of a test or validation split, in one order for all runs."""

    __test__ = False  # not a test case for pytest

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    """Class numbers [n]."""
    groups: npt.NDArray[np.int64]
    """Group numbers [n]; exact duplicates share a number, and with `data.split.group` or
    `keep_near_duplicates_together` all images that these connect."""
    pixel_rows: npt.NDArray[np.int64]
    """Rows [n] of the images in the array of decoded images."""
    classes: tuple[str, ...]
    pixel_hashes: tuple[str, ...] = ()
    """Hashes [n] of the original pixels, before resizing."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RunPredictions:
    """Predictions of one run for a test set."""

    record: RunRecord
    probabilities: npt.NDArray[np.float32]
    """Probabilities [n, classes] in the order of the test set."""

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Class numbers [n]."""
        classes: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return classes


def has_predictions(root: Path, record: RunRecord, split: Split = "test") -> bool:
    """Return whether the predictions of a run are stored; False for a hand-written record."""
    return FILES[split] in record.files and RunFolder.of(root, record.spec).path.is_dir()


def read_predictions(
    root: Path, records: Sequence[RunRecord], split: Split = "test"
) -> tuple[TestSet, list[RunPredictions]]:
    """Return the split that all `records` share, and the predictions of each in its order.

    Raises ReportError if a file is missing or damaged, or if the images or labels of a run differ
    from those of the first one.
    """
    folders = [RunFolder.of(root, record.spec).path for record in records]
    test = read_test_set(folders[0], records[0], split)
    return test, [read_run(*pair, test, split) for pair in zip(folders, records, strict=True)]


def read_test_set(folder: Path, record: RunRecord, split: Split = "test") -> TestSet:
    """Read the images of a split of one run from its `folder`; raises as `read_predictions`."""
    path = folder / files.MANIFEST
    columns = ["id", "label", "split", "pixel_hash", "pixel_row"]
    table = _read(path, record, columns, GROUP_COLUMNS).sort_values("id", kind="stable")
    is_grouped = not table.columns.intersection(GROUP_COLUMNS).empty
    table["cluster"] = clusters(table) if is_grouped else table["pixel_hash"]
    table = table[table["split"] == split]
    classes = record.spec.data_summary.classes
    hashes = tuple(table["pixel_hash"].astype(str))
    return TestSet(
        ids=tuple(table["id"].astype(str)),
        labels=_numbers(table["label"], classes, path),
        groups=np.unique(table["cluster"], return_inverse=True)[1].astype(np.int64),
        pixel_rows=table["pixel_row"].to_numpy(dtype=np.int64),
        classes=classes,
        pixel_hashes=hashes,
    )


def read_run(
    folder: Path, record: RunRecord, test: TestSet, split: Split = "test"
) -> RunPredictions:
    """Read the predictions of one run in the order of `test`; raises as `read_predictions`."""
    path = folder / FILES[split]
    shares = [f"p/{label}" for label in test.classes]
    table = _read(path, record, ["id", "label", *shares]).sort_values("id", kind="stable")
    same = tuple(table["id"].astype(str)) == test.ids and np.array_equal(
        _numbers(table["label"], test.classes, path), test.labels
    )
    if not same:
        raise ReportError(
            f"{path}: its {NAMES[split]} images or labels differ from those of the other runs; "
            f"runs with different {NAMES[split]} sets cannot be compared"
        )
    return RunPredictions(record, table[shares].to_numpy(dtype=np.float32))


def _numbers(labels: pd.Series, classes: tuple[str, ...], path: Path) -> npt.NDArray[np.int64]:
    numbers = labels.map({label: number for number, label in enumerate(classes)})
    if numbers.isna().any():
        raise ReportError(f"{path}: contains labels that are not classes of the study")
    return numbers.to_numpy(dtype=np.int64)


def _read(
    path: Path, record: RunRecord, columns: list[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read columns of a run's table after verifying the checksum of the same bytes.

    A flipped bit may leave a table that is readable but wrong.
    """
    if path.name not in record.files:
        raise ReportError(
            f"{path.parent}: the run did not save {path.name}, so it cannot be compared"
        )
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != record.files[path.name]:
            raise ReportError(
                f"{path}: has changed since the run wrote it; `bench run` repeats the run"
            )
        present = pq.read_schema(io.BytesIO(content)).names if optional else ()
        columns = [*columns, *(name for name in optional if name in present)]
        return pd.read_parquet(io.BytesIO(content), columns=columns)
    except ReportError:
        raise
    except Exception as error:  # errors of pyarrow and of the system
        first = first_line(error)
        raise ReportError(f"{path}: cannot be read: {first}; `bench run` repeats the run") from None
