"""Thumbnails for the HTML page, from the decoded images of a study."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from benchmark.report.analysis import TestImage

SIDE = 96
"""Largest side in pixels."""
QUALITY = 78
MISSING = "The decoded images, a cache, are missing or damaged. `bench run` creates them again."


class Thumbnails:
    """Thumbnails of a study's images; `error` is the reason if there are none, else empty."""

    def __init__(self, pixels: Path) -> None:
        """Open the array file `pixels`, a cache that may have been deleted."""
        from clothclf.data.pixels import PixelCache
        from clothclf.errors import DataError

        self.error = ""
        try:
            self._cache = PixelCache(pixels.parent)
        except DataError:
            self.error = MISSING
            return
        self._ids = self._cache.table["id"].astype(str).tolist()

    def uri(self, pixels: TestImage) -> str:
        """Data URI of an image; empty if the cache does not contain it."""
        from PIL import Image

        from clothclf.errors import DataError

        row = pixels.pixel_row
        if self.error or not 0 <= row < len(self._ids) or self._ids[row] != pixels.id:
            return ""
        try:
            image = Image.fromarray(self._cache.array[row])
        except DataError:
            self.error = MISSING
            return ""
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
