"""CSV or parquet table with image paths and labels; the images are in its folder or below."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from clothclf.data.sources.files import open_files, path_of
from clothclf.data.sources.listing import (
    MAX_IMAGE_BYTES,
    Finding,
    Listing,
    Query,
    is_one_line,
    no_column,
    plain_title,
)
from clothclf.data.sources.table import read_table
from clothclf.errors import DataError
from clothclf.settings import DataSettings

MAX_TABLE_BYTES = 512 * 2**20
IMAGE_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path"),
    *("image", "img", "image_path", "img_path", "picture", "photo"),
)
"""Common names of the path column, in order of preference."""

NO_PATH = "row without a path"
NO_FILE = "path without a file"
OUTSIDE = "path points outside the table's folder"
UNUSABLE_PATH = "path is not plain text"


def open_source(settings: DataSettings, cache: Path) -> TableSource:
    """Open `data.path`."""
    return TableSource(path_of(settings), settings.image)


class TableSource:
    """Table of images, whose ids are the image paths relative to its folder."""

    def __init__(self, path: Path, image: str | None) -> None:
        """Open the table; `image` is its path column, or None to try the common names.

        Raises DataError if the table does not exist.
        """
        self.title = plain_title(path.name or str(path))
        self.synthetic = False
        self.path = path
        self._image = image
        try:
            if not path.is_file():
                kind = "is a folder" if path.is_dir() else "does not exist"
                raise DataError(
                    f"data.path: {path} {kind}; source table requires a .csv or .parquet file"
                )
        except (OSError, ValueError) as error:  # a path that is too long or has a NUL
            raise DataError(f"data.path: {str(path)!r} cannot be read: {error}") from None
        self._files = open_files(path.parent)
        self._paths: list[str] = []

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() in (".parquet", ".pq")

    def columns(self) -> list[str]:
        """Return the columns of text or numbers; raises DataError."""
        if self._is_parquet:
            from clothclf.data.sources.parquet import ParquetFile

            return ParquetFile(self.path).text_columns()
        content = self._files.read(self.path.name, MAX_TABLE_BYTES)
        # Any column can name the rows here: findings are made when they are listed.
        return read_table(content, str(self.path), key=lambda header: header[0]).columns

    def list_images(self, query: Query) -> Listing:
        """List every row with the requested columns; raises DataError."""
        read = self._read_parquet if self._is_parquet else self._read_csv
        paths, columns, places, findings = read(query)
        ids = [self._relative(path) for path in paths]
        errors = [self._problem(path) for path in ids]
        self._paths = [path for path, error in zip(ids, errors, strict=True) if not error]
        return Listing(ids, columns, errors=errors, places=places, findings=tuple(findings))

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded image; raises DataError if it is too large or outside the folder."""
        return self._files.read(image_id, MAX_IMAGE_BYTES)

    def stamp(self) -> str:
        """Return text that changes when the table or one of its images does."""
        return self._files.stamp([self.path.name, *self._paths])

    def _read_csv(self, query: Query) -> _Rows:
        content = self._files.read(self.path.name, MAX_TABLE_BYTES)
        table = read_table(content, str(self.path), key=self.image_column)
        columns = {name: table.values(name) for name in query.columns}
        # Same as for parquet: programs write whole numbers with .0 if a value is missing.
        for name in {query.label, query.group or query.label}:
            columns[name] = [_whole(text) for text in columns[name]]
        paths = table.values(self.image_column(table.columns))
        return paths, columns, [f"line {line}" for line in table.lines], table.findings

    def _read_parquet(self, query: Query) -> _Rows:
        from clothclf.data.sources.parquet import ParquetFile

        file = ParquetFile(self.path)
        paths = file.texts(self.image_column(file.columns))
        columns = {name: file.texts(name) for name in query.columns}
        return paths, columns, [f"row {number}" for number in range(1, file.rows + 1)], []

    def image_column(self, columns: Sequence[str]) -> str:
        """Return the column of image paths; raises DataError if none has a usual name."""
        if self._image is not None:
            if self._image not in columns:
                raise no_column(str(self.path), self._image, columns)
            return self._image
        by_name = {column.lower(): column for column in reversed(columns)}
        for name in IMAGE_COLUMNS:
            if name in by_name:
                return by_name[name]
        names = ", ".join(column[:40] for column in columns[:20])
        raise DataError(
            f"{self.path}: cannot determine the column of image paths; set data.image to one of "
            f"its columns: {names}"
        )

    def _relative(self, path: str) -> str:
        """Normalize a row's path relative to the table's folder; empty if the row has none."""
        if not path:
            return ""
        if "\\" in path and not ("/" in path or self._has(path)):
            path = path.replace("\\", "/")  # Windows separators
        if path.startswith("/"):
            folder = self.path.parent.resolve().as_posix()
            path = path.removeprefix(f"{folder}/")
        return posixpath.normpath(path)

    def _problem(self, path: str) -> str:
        if not path:
            return NO_PATH
        if not is_one_line(path) or len(path) > _MAX_PATH_CHARACTERS:
            return UNUSABLE_PATH
        if path.startswith("/") or path.split("/")[0] == "..":
            return OUTSIDE
        return "" if self._has(path) else NO_FILE

    def _has(self, path: str) -> bool:
        try:
            return self._files.has(path)
        except (OSError, ValueError):  # a name that is too long or has a NUL
            return False


def _whole(text: str) -> str:
    """Remove `.0` from a whole number; return other text unchanged."""
    return text.partition(".")[0] if _WHOLE_NUMBER.fullmatch(text) else text


_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)\.0+", re.ASCII)
_MAX_PATH_CHARACTERS = 1000
_Rows = tuple[list[str], dict[str, list[str]], list[str], list[Finding]]
