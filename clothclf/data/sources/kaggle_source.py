"""Kaggle's layout, zipped or not: styles.csv and images/<id>.jpg, at the top or one folder down.

Kaggle's "Fashion Product Images (Small)" has rows with an unquoted comma in the product name and
ids without an image. Members are read by name, so that an archive cannot write anywhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from clothclf.data.sources.files import open_files, path_of
from clothclf.data.sources.listing import MAX_IMAGE_BYTES, Listing, Query, plain_title
from clothclf.data.sources.table import Table, read_table
from clothclf.errors import DataError
from clothclf.settings import DataSettings

TABLE = "styles.csv"
MAX_TABLE_BYTES = 128 * 2**20
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

UNUSABLE_ID = "id is not a plain name"
NO_IMAGE = "id without an image"


def open_source(settings: DataSettings, cache: Path) -> KaggleSource:
    """Open `data.path`."""
    return KaggleSource(path_of(settings))


class KaggleSource:
    """Data set as downloaded (zip) or unpacked (folder), at the top or one folder down."""

    def __init__(self, path: Path, title: str | None = None, synthetic: bool = False) -> None:
        """Find styles.csv in `path`; raises DataError if there is none."""
        self.title = plain_title(title or path.name)
        self.synthetic = synthetic
        self.path = path
        self._files = open_files(path)
        self._root = self._find_root()
        self._images = {
            name.rpartition("/")[2].rpartition(".")[0]: name
            for name in self._files.names(self._root + "images")
            if name.lower().endswith((".jpg", ".jpeg", ".png"))
        }

    def columns(self) -> list[str]:
        """Return the columns of styles.csv without `id`; raises DataError."""
        return [name for name in self._table().columns if name != "id"]

    def list_images(self, query: Query) -> Listing:
        """List every row of styles.csv with the requested columns; raises DataError."""
        table = self._table()
        ids = table.values("id")
        return Listing(
            ids=ids,
            columns={name: table.values(name) for name in query.columns},
            errors=[self._problem(image_id) for image_id in ids],
            places=[f"line {line}" for line in table.lines],
            findings=tuple(table.findings),
        )

    def read_bytes(self, image_id: str) -> bytes:
        """Return the encoded image; raises DataError if it is too large or damaged."""
        return self._files.read(self._images[image_id], MAX_IMAGE_BYTES)

    def stamp(self) -> str:
        """Return text that changes when the archive or a file of the folder does."""
        return self._files.stamp([self._root + TABLE, *self._images.values()])

    def _table(self) -> Table:
        where = f"{self.path}/{self._root}{TABLE}"
        content = self._files.read(self._root + TABLE, MAX_TABLE_BYTES)
        return read_table(content, where, key="id")

    def _problem(self, image_id: str) -> str:
        """Return why a row's id cannot be used; empty if it can."""
        if not _SAFE_ID.fullmatch(image_id):
            return UNUSABLE_ID
        return "" if image_id in self._images else NO_IMAGE

    def _find_root(self) -> str:
        """Return the folder of styles.csv, with `/`: the top, or else the first with images/."""
        tops = ["", *(f"{name}/" for name in self._files.folders())]
        with_table = [top for top in tops if self._files.has(top + TABLE)]
        if not with_table:
            raise DataError(
                f"data.path: {self.path} has no {TABLE}, at its top level or one folder below; "
                f"expected {TABLE} beside images/, as in Kaggle's archive"
            )
        for top in with_table:
            if self._files.names(top + "images"):
                return top
        raise DataError(f"data.path: {self.path} has {TABLE} but no images in images/ beside it")
