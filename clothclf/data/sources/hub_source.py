"""Parquet files in the layout of the Hugging Face hub, with encoded images and label columns.

The `datasets` library writes files such as `train-00000-of-00002-….parquet`, in `data/` or at the
top level. An image is a struct of `bytes` and `path`, or plain bytes; the path is never opened.
Class indices are converted to the class names in the file's footer.
"""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from clothclf.data.fetch.hub_layout import missing_shards, parquet_files, split_of
from clothclf.data.sources.listing import Listing, Query, is_one_line
from clothclf.data.sources.parquet import MAX_ROWS, ParquetFile
from clothclf.errors import DataError
from clothclf.settings import DataSettings

ID_COLUMN = "id"
MAX_ID_CHARACTERS = 100
_BYTES = "bytes"
_DEEPEST = 4
_USUAL_NAMES = ("image", "img", "picture", "photo", "jpg", "png")

UNUSABLE_ID = "id is not one short line"
NO_CLASS_NAME = "class number without a name"


class _RowLocation(NamedTuple):
    """File and row number of a row."""

    file: int
    row: int


class HubSource:
    """Parquet file, or folder of parquet files. Opening it reads only their footers."""

    def __init__(self, path: Path, image: str | None = None, title: str | None = None) -> None:
        """Find the files and their image column; raises DataError if there is none."""
        name = title or path.name or str(path)
        self.title = "".join(c if c.isprintable() else "?" for c in name)[:200]
        self.synthetic = False
        self._root, self._names = _find(path)
        self._files = [ParquetFile(self._root / name) for name in self._names]
        self._starts = list(itertools.accumulate((f.rows for f in self._files), initial=0))
        if self._starts[-1] > MAX_ROWS:
            raise DataError(
                f"data.path: {path}: has {self._starts[-1]:,} rows; at most {MAX_ROWS:,} are "
                "supported"
            )
        self._group_starts = [
            list(itertools.accumulate(file.group_rows, initial=0)) for file in self._files
        ]
        self._leaf = _image_leaf(self._files, image)
        self._rows: dict[str, int] | None = None
        self._reading: list[int] = []

    def text_columns(self) -> list[str]:
        """Return the columns of text or numbers that all files have, without `id`."""
        first, *rest = (file.text_columns() for file in self._files)
        return [c for c in first if c != ID_COLUMN and all(c in other for other in rest)]

    def list_images(self, query: Query) -> Listing:
        """List every row of every file with the requested columns; raises DataError."""
        for file in self._files:
            file.prepare_bytes(self._leaf)
        columns, nameless = {}, [False] * self._starts[-1]
        for column in query.columns:
            columns[column] = self._texts(column, nameless)
        splits = self._splits()
        ids = self._ids()
        self._rows = {image_id: row for row, image_id in enumerate(ids)}
        return Listing(
            ids=ids,
            columns=columns,
            splits=splits,
            errors=[_problem(*row) for row in zip(ids, nameless, strict=True)],
            places=[self._describe_row(row) for row in range(len(ids))],
        )

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded image; raises DataError if its cell is empty or too large."""
        if self._rows is None:  # not listed yet: any column will do, to map ids to rows
            self.list_images(Query(label=self._files[0].columns[0]))
        location = self._location((self._rows or {})[image_id])
        starts = self._group_starts[location.file]
        group = bisect.bisect_right(starts, location.row) - 1
        self._release_others(location.file)
        return self._files[location.file].read_bytes(
            self._leaf, group, location.row - starts[group]
        )

    def stamp(self) -> str:
        """Return text that changes when one of the files or the image column does."""
        try:
            stats = [(name, (self._root / name).stat()) for name in self._names]
        except OSError as error:
            raise DataError(f"{self._root}: cannot be read: {error.strerror}") from None
        files = " ".join(f"{name}:{s.st_size}:{s.st_mtime_ns}" for name, s in stats)
        return f"{self._root.resolve()} {self._leaf} {files}"

    def _texts(self, column: str, nameless: list[bool]) -> list[str]:
        """Return a column of all files as text; set `nameless` if a class index has no name."""
        texts: list[str] = []
        for file, start in zip(self._files, self._starts, strict=False):
            own = file.texts(column)
            if names := _class_names(file, column):
                for row, number in enumerate(own, start):
                    known = number.isdecimal() and len(number) < 10 and int(number) < len(names)
                    nameless[row] |= not known and number not in ("", "-1")
                    # On the hub, -1 marks a row without a label.
                    if known:
                        own[row - start] = names[int(number)]
                    elif number == "-1":
                        own[row - start] = ""
            texts += own
        return texts

    def _splits(self) -> list[str]:
        """Return the split of every row, from file names; empty if all rows are in one split."""
        splits = [split_of(name) for name in self._names]
        if len(set(splits)) < 2:
            return []
        return [s for s, file in zip(splits, self._files, strict=True) for _ in range(file.rows)]

    def _ids(self) -> list[str]:
        """Return column `id`, or else row numbers; append the row number to repeated ids.

        Ids may repeat across splits, or for several images of a product.
        """
        if not all(ID_COLUMN in file.columns for file in self._files):
            return [str(row) for row in range(self._starts[-1])]
        ids = [text for file in self._files for text in file.texts(ID_COLUMN)]
        taken, seen = set(ids), set[str]()
        for row, image_id in enumerate(ids):
            if image_id in seen:
                ids[row] = f"{image_id}#{row}"
                while ids[row] in taken:
                    ids[row] += "#"
                taken.add(ids[row])
            elif image_id:
                seen.add(image_id)
        return ids

    def _location(self, row: int) -> _RowLocation:
        file = bisect.bisect_right(self._starts, row) - 1
        return _RowLocation(file, row - self._starts[file])

    def _describe_row(self, row: int) -> str:
        location = self._location(row)
        return f"{self._names[location.file][-60:]} row {location.row}"

    def _release_others(self, file: int) -> None:
        """Release the rows of all files but `file` and the one read before it."""
        if file not in self._reading:
            self._reading = [*self._reading[-1:], file]
            for other, each in enumerate(self._files):
                if other not in self._reading:
                    each.close_readers()


def open_source(settings: DataSettings, cache: Path) -> HubSource:
    """Open the files of `data.path`, or else the hub's data set, downloaded to `cache` once."""
    if settings.path is not None:
        return HubSource(settings.path, settings.image)
    from clothclf.data.fetch.hub import fetch_to_cache

    download = fetch_to_cache(settings.hub, cache)
    return HubSource(download.folder, settings.image, title=download.origin)


def _find(path: Path) -> tuple[Path, list[str]]:
    """Return the folder of the files, and their names below it."""
    try:
        if path.is_file():
            return path.parent, [path.name]
        if not path.exists():
            raise DataError(
                f"data.path: {path} does not exist; give a parquet file or a folder of parquet "
                "files, or remove data.path to read data.hub"
            )
        if not path.is_dir():  # opening a pipe would block
            raise DataError(f"data.path: {path} is neither a parquet file nor a folder")
        names = parquet_files(_walk(path), f"data.path: {path}")
    except (OSError, ValueError) as error:  # a path that is too long, has a NUL or no permission
        raise DataError(f"data.path: {str(path)!r} cannot be read: {error}") from None
    if missing := missing_shards(names):
        raise DataError(
            f"data.path: {path}: lacks {missing[0]}….parquet"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}; download it as well"
        )
    return path, names


def _walk(path: Path) -> list[str]:
    """Return the names of regular files up to `_DEEPEST` folders deep; links are not followed."""
    names = []
    for folder, folders, files in os.walk(path):
        here = Path(folder).relative_to(path)
        if len(here.parts) >= _DEEPEST:
            folders.clear()
        names += [(here / name).as_posix() for name in files if os.path.isfile(Path(folder, name))]
    return names


def _image_leaf(files: Sequence[ParquetFile], column: str | None) -> str:
    """Return the parquet path of the image bytes; raises DataError if it differs between files."""
    first = files[0]
    if column is None:
        column = _image_column(first)
    leaf = _leaf(first, column)
    for file in files[1:]:
        if _leaf(file, column) != leaf:
            raise DataError(
                f"{file.path}: stores its images differently than {first.path.name}; give the "
                "folder of one data set"
            )
    return leaf


def _image_column(file: ParquetFile) -> str:
    plain_bytes = [c for c in file.columns if file.columns.count(c) == 1]
    of_bytes = [c for c in plain_bytes if _has_bytes(file.type_of(c))]
    marked = [c for c in of_bytes if file.features.get(c, {}).get("_type") == "Image"]
    candidates = marked or of_bytes
    usual = [name for name in _USUAL_NAMES if name in candidates]
    if len(candidates) == 1 or usual:
        return (usual or candidates)[0]
    names = ", ".join(column[:40] for column in (candidates or file.columns)[:20])
    if candidates:
        raise DataError(
            f"{file.path}: has several columns of images: {names}; set data.image to one of them"
        )
    raise DataError(f"{file.path}: has no column of images (their bytes); its columns are: {names}")


def _leaf(file: ParquetFile, column: str) -> str:
    kind = file.type_of(column)
    if not _has_bytes(kind):
        raise DataError(
            f"{file.path}: column {column!r} holds {str(kind)[:60]}, not images: their bytes, or "
            "a struct of bytes and path"
        )
    return f"{column}.{_BYTES}" if pa.types.is_struct(kind) else column


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index(_BYTES)
        return index >= 0 and _is_bytes(kind.field(index).type)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_names(file: ParquetFile, column: str) -> list[str]:
    """Return the class names of a column, by index; empty if the footer has none."""
    feature = file.features.get(column, {})
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    if not isinstance(names, list) or not pa.types.is_integer(file.type_of(column)):
        return []
    return [str(name) for name in names]


def _problem(image_id: str, is_nameless: bool) -> str:
    if len(image_id) > MAX_ID_CHARACTERS or not is_one_line(image_id):
        return UNUSABLE_ID
    return NO_CLASS_NAME if is_nameless else ""
