"""Columns to slice test images by: columns of the data's own table, and properties of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.errors import ReportError
from benchmark.report.predictions import TestSet
from benchmark.runs.root import cache_folder
from clothclf.errors import DataError, first_line
from clothclf.settings import DataSettings

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
BORDER = 0.1
"""Share of an image's side that counts as background."""
PARTS = 4
"""Number of slices of a property, of equal size as far as values differ."""
CHUNK = 256
"""Images read at a time."""
Floats = npt.NDArray[np.float64]


def brightness(luma: Floats) -> Floats:
    """Mean brightness of images [n, height, width], 0 to 255."""
    result: Floats = luma.mean(axis=(1, 2))
    return result


def sharpness(luma: Floats) -> Floats:
    """Standard deviation of the Laplacian of images [n, height, width]; blurred ones have less."""
    inner = luma[:, 1:-1, 1:-1]
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    result: Floats = (around - 4 * inner).std(axis=(1, 2))
    return result


def background(luma: Floats) -> Floats:
    """Mean brightness of the outer tenth of images [n, height, width], 0 to 255."""
    _, height, width = luma.shape
    edge = np.zeros((height, width), dtype=bool)
    high, wide = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    edge[:high], edge[-high:], edge[:, :wide], edge[:, -wide:] = True, True, True, True
    result: Floats = luma[:, edge].mean(axis=1)
    return result


PROPERTIES: dict[str, Callable[[Floats], Floats]] = {
    "brightness": brightness,
    "sharpness": sharpness,
    "background": background,
}
SIZE = "size"
"""Property of the image as stored: its number of pixels."""


def slice_values(
    names: Sequence[str], data: DataSettings, root: Path, test: TestSet, pixels: Path
) -> tuple[dict[str, list[str]], set[str]]:
    """Value of each test image by column, and which of these are properties of the images.

    A column of the data takes precedence over a property of the same name.

    `root` is the tracking folder and `pixels` the array of decoded images. Raises ReportError for
    an unknown column and where the data or the decoded images are gone.
    """
    values_by_column = {}
    properties = set()
    for name in dict.fromkeys(names):
        try:
            values_by_column[name] = _of_table(name, data, root, test)
        except DataError as error:
            if name not in (*PROPERTIES, SIZE):
                message = first_line(error).partition("; check data.")[0]
                known = ", ".join((*PROPERTIES, SIZE))
                raise ReportError(
                    f"--by {name}: {message}; properties of images are: {known}"
                ) from None
            values_by_column[name] = _of_images(name, test, pixels)
            properties.add(name)
    return values_by_column, properties


def _of_table(name: str, data: DataSettings, root: Path, test: TestSet) -> list[str]:
    from clothclf.data.sources import Query, open_source

    listing = open_source(data, cache_folder(root)).list_images(Query(label=name))
    pairs = list(zip(listing.ids, listing.columns[name], strict=True))
    # As in a study, the first row of an id counts.
    by_id = {image_id.strip(): value.strip() for image_id, value in reversed(pairs)}
    return [by_id.get(image_id, "") for image_id in test.ids]


def _of_images(name: str, test: TestSet, pixels: Path) -> list[str]:
    from clothclf.data.pixels import PixelCache

    try:
        cache = PixelCache(pixels.parent)
    except DataError as error:
        raise ReportError(
            f"--by {name}: {first_line(error)}; `bench run` decodes the images again"
        ) from None
    if name == SIZE:
        table = cache.table.iloc[test.pixel_rows]
        return quantile_names((table["width"] * table["height"]).to_numpy(dtype=np.float64))
    values = []
    for start in range(0, len(test), CHUNK):
        images = cache.array[test.pixel_rows[start : start + CHUNK]]
        values.append(PROPERTIES[name](images.astype(np.float64) @ np.array(LUMA)))
    return quantile_names(np.concatenate(values))


def quantile_names(values: Floats) -> list[str]:
    """Name the quarter of each value [n] by its range; equal values share one."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, PARTS + 1)))
    if len(edges) < 2:
        return [f"{values[0]:.4g}"] * len(values)
    indices = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [f"{edges[index]:.4g} to {edges[index + 1]:.4g}" for index in indices]
