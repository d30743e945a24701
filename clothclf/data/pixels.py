"""Decode once: a folder with every picture as uint8 at one size, mapped and shared by all runs."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.atomic import new_folder, set_aside, write_text
from clothclf.data.budget import decoding_threads
from clothclf.data.decode import decoding, pixel_hash, resized
from clothclf.data.sources.listing import Source
from clothclf.errors import DataError

DECODER_VERSION = 3
"""Raise it when the same file would give other pixels."""

LET_GO_BYTES = 2**26
"""Of decoded pictures, after which those written leave this process's memory."""

Progress = Callable[[int, int], None]
"""Called with pictures done and pictures in all."""


class PixelCache:
    """Pictures of one source at one size.

    `table` has a row for each picture, in the order of the array: id, pixel_hash (of the picture
    as stored, not resized; empty where it does not decode), width, height, stored_mode, problem.
    `array` is uint8 [pictures, size, size, 3].
    """

    def __init__(self, folder: Path) -> None:
        """Open a cache that `open_or_build` made; raises DataError where it is not whole."""
        self.path = folder / "pixels.npy"
        try:
            meta = json.loads((folder / "cache.json").read_text("utf-8"))
            self.table = pd.read_parquet(folder / "pictures.parquet")
            self.array: npt.NDArray[np.uint8] = np.load(self.path, mmap_mode="r")
            whole = meta == _describe(folder, self.array)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{folder}: the decoded pictures cannot be opened: {error}") from None
        if not whole:
            raise DataError(f"{folder}: the decoded pictures are damaged; delete the folder")


def open_or_build(
    source: Source, ids: list[str], image_size: int, cache: Path, progress: Progress | None = None
) -> PixelCache:
    """Open the pictures `ids` of a source at `image_size` pixels, decoding them the first time.

    A damaged cache is built again. Raises DataError where it cannot be written.
    """
    key_text = "\n".join([str(DECODER_VERSION), source.stamp(), str(image_size), *ids])
    folder = cache / "pixels" / hashlib.sha256(key_text.encode()).hexdigest()[:16]
    try:
        return PixelCache(folder)
    except DataError:
        pass  # not there yet, or damaged
    try:
        set_aside(folder)
        with new_folder(folder) as unfinished:
            _build(source, ids, image_size, unfinished, progress)
    except OSError as error:
        raise DataError(
            f"{cache}: the decoded pictures cannot be written there: {error.strerror or error}"
        ) from None
    return PixelCache(folder)


def _describe(folder: Path, array: npt.NDArray[np.uint8]) -> dict[str, object]:
    """What `cache.json` says of a whole cache, from the table's bytes and a sample of the pixels.

    A gigabyte is not read at every opening: some 64 pictures, spread evenly, stand for all.
    """
    sample = np.ascontiguousarray(array[:: max(1, len(array) // 64)])
    return {
        "version": DECODER_VERSION,
        "shape": list(array.shape),
        "pixels_sample_crc32": zlib.crc32(sample.data),
        "table_crc32": zlib.crc32((folder / "pictures.parquet").read_bytes()),
    }


def _build(
    source: Source, ids: list[str], size: int, folder: Path, progress: Progress | None
) -> None:
    array = np.lib.format.open_memmap(
        folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(ids), size, size, 3)
    )
    if hasattr(os, "posix_fallocate"):
        # A full disk is told here; met while writing to mapped memory, it would kill the process.
        with (folder / "pixels.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    rows: list[dict[str, object]] = []
    let_go_every = max(1, LET_GO_BYTES // (size * size * 3))

    def decode(position: int) -> dict[str, object]:
        return _decode_one(source, ids[position], size, array[position])

    # Pillow releases the interpreter lock while it decodes and resizes. Its warnings on odd files
    # are silenced here, since the filters belong to the process and not to a thread.
    with warnings.catch_warnings(), decoding_threads() as pool:
        warnings.simplefilter("ignore")
        for row in pool.map(decode, range(len(ids))):
            rows.append(row)
            if len(rows) % let_go_every == 0:
                _let_go(array)
            if progress is not None and (len(rows) % 500 == 0 or len(rows) == len(ids)):
                progress(len(rows), len(ids))
    array.flush()
    pd.DataFrame(rows).to_parquet(folder / "pictures.parquet", index=False)
    write_text(folder / "cache.json", json.dumps(_describe(folder, array)))


def _let_go(array: np.memmap[Any, np.dtype[np.uint8]]) -> None:
    """Take written pictures out of this process's memory; the system writes them to the file."""
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _decode_one(
    source: Source, image_id: str, size: int, out: npt.NDArray[np.uint8]
) -> dict[str, object]:
    row: dict[str, object] = {
        "id": image_id, "pixel_hash": "", "width": 0, "height": 0, "stored_mode": "", "problem": "",
    }  # fmt: skip
    try:
        with decoding(source.read_bytes(image_id)) as decoded:
            out[...] = resized(decoded.image, size)
            width, height = decoded.stored_size
            return row | {
                "pixel_hash": pixel_hash(decoded.image),
                "width": width,
                "height": height,
                "stored_mode": decoded.stored_mode,
            }
    except DataError as error:
        return row | {"problem": str(error)}
