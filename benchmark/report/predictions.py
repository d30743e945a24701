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
import pyarrow as pa
import pyarrow.compute as pc
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
    root: Path,
    records: Sequence[RunRecord],
    split: Split = "test",
    known: dict[str, TestSet] | None = None,
) -> tuple[TestSet, list[RunPredictions]]:
    """Return the split that all `records` share, and the predictions of each in its order.

    `known` has the same split of other runs by the hash of their manifest, and gets this one.
    Raises ReportError if a file is missing or damaged, or if the images or labels of a run differ
    from those of the first one.
    """
    folders = [RunFolder.of(root, record.spec).path for record in records]
    known = {} if known is None else known
    manifest = records[0].files.get(files.MANIFEST, "")
    if manifest not in known:
        known[manifest] = read_test_set(folders[0], records[0], split)
    test = known[manifest]
    return test, [read_run(*pair, test, split) for pair in zip(folders, records, strict=True)]


def read_test_set(folder: Path, record: RunRecord, split: Split = "test") -> TestSet:
    """Read the images of a split of one run from its `folder`; raises as `read_predictions`."""
    path = folder / files.MANIFEST
    columns = ["id", "label", "split", "pixel_hash", "pixel_row"]
    table = read_table(path, record, columns, GROUP_COLUMNS)
    is_grouped = not {*GROUP_COLUMNS}.isdisjoint(table.column_names)
    groups = pa.array(clusters(table.to_pandas())) if is_grouped else table["pixel_hash"]
    table = table.append_column("cluster", groups)
    table = table.filter(pc.equal(table["split"], split))
    classes = record.spec.data_summary.classes
    return TestSet(
        ids=_texts(table["id"]),
        labels=_numbers(table["label"], classes, path),
        groups=np.unique(table["cluster"].to_numpy(), return_inverse=True)[1].astype(np.int64),
        pixel_rows=table["pixel_row"].to_numpy().astype(np.int64),
        classes=classes,
        pixel_hashes=_texts(table["pixel_hash"]),
    )


def read_run(
    folder: Path, record: RunRecord, test: TestSet, split: Split = "test"
) -> RunPredictions:
    """Read the predictions of one run in the order of `test`; raises as `read_predictions`."""
    path = folder / FILES[split]
    table = read_table(path, record, ["id", "label", *shares_of(test.classes)])
    return RunPredictions(record, probabilities(table, test, path, split))


def shares_of(classes: Sequence[str]) -> list[str]:
    """Return the names of the columns with probabilities."""
    return [f"p/{label}" for label in classes]


def probabilities(
    table: pa.Table, test: TestSet, path: Path, split: Split
) -> npt.NDArray[np.float32]:
    """Return the probabilities [n, classes] in a table of predictions, which `read_table` read.

    Raises ReportError if its images or labels are not those of `test`.
    """
    same = _texts(table["id"]) == test.ids and np.array_equal(
        _numbers(table["label"], test.classes, path), test.labels
    )
    if not same:
        raise ReportError(
            f"{path}: its {NAMES[split]} images or labels differ from those of the other runs; "
            f"runs with different {NAMES[split]} sets cannot be compared"
        )
    found = np.empty((len(test), len(test.classes)), dtype=np.float32)
    for place, name in enumerate(shares_of(test.classes)):
        found[:, place] = table[name].to_numpy()
    return found


def read_table(
    path: Path, record: RunRecord, columns: list[str], optional: Sequence[str] = ()
) -> pa.Table:
    """Read columns of a run's table, sorted by id, after verifying the checksum of the same bytes.

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
        return pq.read_table(io.BytesIO(content), columns=columns).sort_by("id")
    except ReportError:
        raise
    except Exception as error:  # errors of pyarrow and of the system
        first = first_line(error)
        raise ReportError(f"{path}: cannot be read: {first}; `bench run` repeats the run") from None


def _texts(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(column.cast(pa.large_string()).to_pylist())


def _numbers(
    labels: pa.ChunkedArray, classes: tuple[str, ...], path: Path
) -> npt.NDArray[np.int64]:
    known = pa.array(classes, pa.large_string())
    numbers = pc.index_in(labels.cast(pa.large_string()), value_set=known)
    if numbers.null_count:
        raise ReportError(f"{path}: contains labels that are not classes of the study")
    converted: npt.NDArray[np.int64] = numbers.to_numpy().astype(np.int64)
    return converted
