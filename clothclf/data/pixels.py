"""Cache of decoded images: uint8 at one size, memory-mapped and shared by all runs."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.atomic import new_folder, set_aside, write_text
from clothclf.data.budget import decoding_threads
from clothclf.data.checked import (
    CheckedImages,
    Rebuild,
    block_checksum,
    checksum_file,
    rows_per_block,
    write_checksums,
)
from clothclf.data.decode import decoding, pixel_hash, resized
from clothclf.data.in_use import protect
from clothclf.data.sources.listing import Source
from clothclf.errors import DataError

DECODER_VERSION = 4
"""Increase when the same file would decode to different pixels."""

RELEASE_BYTES = 2**26
"""Bytes of decoded images after which written pages are released from this process's memory."""

TABLE = "images.parquet"
COUNT_KEYS = {"pictures.parquet": "pictures", TABLE: "images"}
"""Key of the number of images in `cache.json`, by the table's name; caches with the former names
are reused."""
AHEAD = 256
"""Maximum number of pending images, which keeps all threads busy."""
_Row = dict[str, object]

Progress = Callable[[int, int], None]
"""Called with the number of images done and in total."""
Note = Callable[[str], None]
"""Called with a message for the user."""
DECODED_AGAIN = "the decoded images are damaged or from an earlier version; decoding them again"


class PixelCache:
    """Decoded images of one source at one size.

    `table` has one row per image, in the order of the array: id, pixel_hash (of the image as
    stored, not resized; empty if it does not decode), width, height, stored_mode, problem.
    `array` is uint8 [images, size, size, 3].
    """

    def __init__(self, folder: Path, rebuild: Rebuild | None = None) -> None:
        """Open a cache written by `open_or_build`; raises DataError if it is incomplete.

        Pixels are verified as they are read: a few blocks here, the others later. `rebuild` writes
        the cache again if a later block is damaged.
        """
        self.path = folder / "pixels.npy"
        try:
            meta = json.loads((folder / "cache.json").read_text("utf-8"))
            table = next((name for name, key in COUNT_KEYS.items() if key in meta), TABLE)
            self.table = pd.read_parquet(folder / table)
            complete = meta == _describe(folder, len(self.table), table)
        except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
            raise DataError(f"{folder}: the decoded images cannot be opened: {error}") from None
        if not complete:
            raise DataError(f"{folder}: the decoded images are damaged; delete the folder")
        CheckedImages(self.path).look_at_some()
        self.array = CheckedImages(self.path, rebuild)


def open_or_build(
    source: Source,
    ids: list[str],
    image_size: int,
    cache: Path,
    progress: Progress | None = None,
    note: Note | None = None,
) -> PixelCache:
    """Open the images `ids` of a source at `image_size` pixels; decode them on first use.

    A damaged cache, or one without checksums, is rebuilt after a call to `note`. `bench data clean`
    does not delete the cache while this process runs. Raises DataError if it cannot be written.
    """
    key_text = "\n".join([str(DECODER_VERSION), source.stamp(), str(image_size), *ids])
    folder = (
        cache
        / "pixels"
        / hashlib.sha256(key_text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    )

    def build() -> Path:
        if folder.exists() and note is not None:
            note(DECODED_AGAIN)
        try:
            set_aside(folder)
            with new_folder(folder) as unfinished:
                _build(source, ids, image_size, unfinished, progress)
        except OSError as error:
            raise DataError(
                f"{cache}: the decoded images cannot be written there: {error.strerror or error}"
            ) from None
        return folder / "pixels.npy"

    protect(folder)
    try:
        return PixelCache(folder, build)
    except DataError:  # missing or damaged
        build()
    return PixelCache(folder, build)


def _describe(folder: Path, count: int, table: str = TABLE) -> dict[str, object]:
    """Return the content of `cache.json` for a complete cache, from its small files."""
    return {
        "version": DECODER_VERSION,
        COUNT_KEYS[table]: count,
        "table_crc32": zlib.crc32((folder / table).read_bytes()),
        "checksums_crc32": zlib.crc32(checksum_file(folder / "pixels.npy").read_bytes()),
    }


def _build(
    source: Source, ids: list[str], size: int, folder: Path, progress: Progress | None
) -> None:
    array = np.lib.format.open_memmap(
        folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(ids), size, size, 3)
    )
    if hasattr(os, "posix_fallocate"):
        # Detect a full disk here; a write to mapped memory would kill the process with SIGBUS.
        with (folder / "pixels.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    rows: list[dict[str, object]] = []
    release_every = max(1, RELEASE_BYTES // (size * size * 3))
    per_block, checksums = rows_per_block(array), list[int]()

    def decode(position: int) -> dict[str, object]:
        return _decode_one(source, ids[position], size, array[position])

    # Pillow releases the GIL while it decodes and resizes. Its warnings are silenced here, because
    # warning filters are per process, not per thread.
    with warnings.catch_warnings(), decoding_threads() as pool:
        warnings.simplefilter("ignore")
        for row in _in_order(pool, decode, len(ids)):
            rows.append(row)
            if len(rows) % per_block == 0 or len(rows) == len(ids):
                checksums.append(block_checksum(array, len(checksums), per_block))
            if len(rows) % release_every == 0:
                _release_pages(array)
            if progress is not None and (len(rows) % 500 == 0 or len(rows) == len(ids)):
                progress(len(rows), len(ids))
    array.flush()
    pd.DataFrame(rows).to_parquet(folder / TABLE, index=False)
    write_checksums(folder / "pixels.npy", array.shape, per_block, checksums)
    write_text(folder / "cache.json", json.dumps(_describe(folder, len(ids))))


def _in_order(pool: Executor, call: Callable[[int], _Row], count: int) -> Iterator[_Row]:
    """Yield the results of `call` for 0 to `count` - 1 in order, with few calls pending.

    `pool.map` submits all calls at once, which takes gigabytes for millions of images.
    """
    waiting: deque[Future[_Row]] = deque()
    try:
        for position in range(count):
            waiting.append(pool.submit(call, position))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _release_pages(array: np.memmap[Any, np.dtype[np.uint8]]) -> None:
    """Release written images from this process's memory; the system writes them to the file."""
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
