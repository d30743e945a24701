"""Small pictures to be put into a page, from the decoded pictures of a study."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from benchmark.report.analysis import Picture

SIDE = 96
"""Largest side in pixels."""
QUALITY = 78
GONE = (
    "The decoded pictures are gone, or not as they were written: they are a cache. "
    "`bench run` makes them again."
)


class Thumbnails:
    """The decoded pictures of a study; `fault` says why there are none, and is empty else."""

    def __init__(self, pixels: Path) -> None:
        """`pixels` is the file of the array; it is a cache, and may be gone."""
        from clothclf.data.pixels import PixelCache
        from clothclf.errors import DataError

        self.fault = ""
        try:
            self._cache = PixelCache(pixels.parent)
        except DataError:
            self.fault = GONE
            return
        self._ids = self._cache.table["id"].astype(str).tolist()

    def uri(self, picture: Picture) -> str:
        """The picture as a data URI; empty where the array does not hold it."""
        from PIL import Image

        from clothclf.errors import DataError

        row = picture.pixel_row
        if self.fault or not 0 <= row < len(self._ids) or self._ids[row] != picture.id:
            return ""
        try:
            image = Image.fromarray(self._cache.array[row])
        except DataError:
            self.fault = GONE
            return ""
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
