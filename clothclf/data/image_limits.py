"""Limits on an image file's work, checked before and while it is decoded.

A decoder cannot be interrupted inside its C code, so its work is bounded by what the file says of
itself: scans, blocks, directory entries, tile size.
"""

from __future__ import annotations

import io
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from clothclf.data.budget import raise_if_stopped
from clothclf.errors import DataError

SLOW = "image takes too long to decode"
MAX_SCANS = 100
"""Of a JPEG: each goes over the whole image. Encoders write about 10; libtiff allows as many."""
MAX_SEGMENTS = 20_000
"""Of a JPEG, between scans too."""
MAX_READS = 250_000
"""Of one file: about 3 for each marker of a JPEG, 2 for a GIF's block, 4 for a PNG's chunk."""
MAX_RUN_PIXELS = 8_000_000
"""Of a run-length BMP, which Pillow decodes in Python."""
MAX_SECONDS = 30.0
"""Of one thread's CPU time for one image, where its decoder asks for more data."""
MAX_ENTRIES = 10_000
"""Of a TIFF's or EXIF's directories together."""
MAX_VALUES = 300_000
"""Of their entries together; the strips of an uncompressed TIFF take two each."""
MAX_ENTRY_BYTES = 128 * 2**20
MAX_EXIF_BYTES = 4 * 2**20
MAX_TILE_PIXELS = 64_000_000

CHECK_EVERY = 64
"""Reads between two looks at the clock."""


def limited(content: bytes) -> io.BytesIO:
    """An encoded image in memory that cannot be read in more than `MAX_READS` pieces."""
    # A file of fewer bytes has not so many pieces, and most images are read 15 us sooner.
    return LimitedFile(content) if len(content) > MAX_READS else io.BytesIO(content)


class LimitedFile(io.BytesIO):
    """An encoded image in memory; reading it raises DataError beyond the limits.

    Reading also ends where the thread was stopped, with CancelledError.
    """

    def __init__(self, content: bytes) -> None:
        """Begin at the first byte."""
        super().__init__(content)
        self._reads = 0
        self._most = MAX_READS
        self._end_s = time.thread_time() + MAX_SECONDS

    def allow(self, reads: int) -> None:
        """Let so many more reads pass."""
        self._most += reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as BytesIO does."""
        self._reads += 1
        if self._reads % CHECK_EVERY == 0:
            raise_if_stopped()
            if self._reads > self._most:
                raise DataError(f"{SLOW}: it has over {self._most:,} blocks")
            if time.thread_time() > self._end_s:
                raise DataError(f"{SLOW}: over {MAX_SECONDS:g} s")
        return super().read(size)


def inspect(content: bytes) -> int:
    """Bytes that a file's decoder holds beside the image; raises DataError beyond the limits.

    0 for what is no JPEG or TIFF: other formats have no such buffers.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _inspect_jpeg(content)
    if content[:4] in _TIFF_STARTS:
        return _inspect_tiff(content)
    return 0


# JPEG

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Not a filling byte, nor one inside compressed data."""
_NO_PAYLOAD = frozenset((0x01, 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_EXIF = b"Exif\0\0"


def _inspect_jpeg(content: bytes) -> int:
    exif = b""
    coefficients, components, progressive = 0, 0, False
    scans = 0
    for marker, start, end in _segments(content):
        if marker in _FRAMES and not scans and end - start >= 6:
            coefficients, components = _coefficients(content[start:end])
            progressive = marker in _PROGRESSIVE
        elif marker == _APP1 and content.startswith(_EXIF, start):
            exif += content[start + len(_EXIF) : end]
            if len(exif) > MAX_EXIF_BYTES:
                raise DataError(f"{SLOW}: its EXIF has over {MAX_EXIF_BYTES // 2**20} MiB")
        elif marker == _END and scans:
            break  # before a scan, decoders go on to the next image of the file
        elif marker == _SCAN:
            scans += 1
            if scans == 1:
                inspect_directories(exif)
                if not progressive and content[start : start + 1] == bytes([components]):
                    return 0  # one scan with all components: nothing after it is read
            if scans > MAX_SCANS:
                raise DataError(f"{SLOW}: it has over {MAX_SCANS} scans")
    return 2 * coefficients


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Markers, with start and end of what belongs to them; compressed data is skipped."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(content, at)
        if match is None:
            return
        start = match.end()
        marker = content[start - 1]
        at = start
        if marker not in _NO_PAYLOAD:
            at += max(2, int.from_bytes(content[start : start + 2], "big"))
            start += 2
        yield marker, start, at
    raise DataError(f"{SLOW}: it has over {MAX_SEGMENTS:,} blocks")


def _coefficients(frame: bytes) -> tuple[int, int]:
    """Coefficients that a decoder of several scans holds (2 bytes each), and components."""
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    sampling = [(byte >> 4, byte & 15) for byte in frame[7 : 6 + 3 * components : 3]]
    most = max((h for h, _ in sampling), default=1) * max((v for _, v in sampling), default=1)
    return width * height * sum(h * v for h, v in sampling) // max(1, most), components


# TIFF, and EXIF, which is one

_TIFF_STARTS = (b"II*\0", b"II\0*", b"MM\0*", b"MM*\0", b"II+\0", b"MM\0+")
_SIZES = {
    **dict.fromkeys((1, 2, 6, 7), 1), **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4), **dict.fromkeys((5, 10, 12, 16), 8),
}  # fmt: skip
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q"}
_BELOW = (34665, 34853, 40965)
"""Entries that lead to further directories: EXIF, GPS, interoperability."""
_TILE_WIDTH, _TILE_LENGTH = 322, 323


@dataclass
class _Sums:
    """Of all directories of one file."""

    entries: int = 0
    values: int = 0
    size: int = 0
    seen: set[int] = field(default_factory=set)


def _inspect_tiff(content: bytes) -> int:
    tags = inspect_directories(content)
    width, length = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    if width * length > MAX_TILE_PIXELS:
        raise DataError(f"its tiles of {width} x {length} pixels are too large")
    # Of one tile, libtiff and Pillow hold a copy each; up to 4 samples of up to 32 bits.
    return 2 * width * length * 16


def inspect_directories(data: bytes) -> dict[int, int]:
    """Single integers of a TIFF's or EXIF's first directory, by tag.

    Raises DataError where its directories hold more than the limits.
    """
    data = data.removeprefix(_EXIF).removeprefix(_EXIF)
    if data[:4] not in _TIFF_STARTS:
        return {}
    order, big = ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]
    sums = _Sums()
    try:
        first = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)[0]
        tags = _directory(data, first, order, big, sums)
        waiting = [tags[tag] for tag in _BELOW if tag in tags]
        while waiting:
            below = _directory(data, waiting.pop(), order, big, sums)
            waiting += [below[tag] for tag in _BELOW if tag in below]
    except struct.error:  # cut short: the decoder says what of
        return {}
    return tags


def _directory(data: bytes, at: int, order: str, big: bool, sums: _Sums) -> dict[int, int]:
    if at in sums.seen:
        return {}
    sums.seen.add(at)
    word, entry = ("Q", "HHQ") if big else ("L", "HHL")
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    size = struct.calcsize(order + entry + word)
    at += 8 if big else 2
    count = min(count, (len(data) - at) // size)
    sums.entries += count
    if sums.entries > MAX_ENTRIES:
        raise DataError(f"{SLOW}: its directories have over {MAX_ENTRIES:,} entries")
    tags: dict[int, int] = {}
    for place in range(at, at + count * size, size):
        tag, kind, values = struct.unpack_from(order + entry, data, place)
        value_at = place + struct.calcsize(order + entry)
        if values * _SIZES.get(kind, 0) > place + size - value_at:
            _add(sums, data, struct.unpack_from(order + word, data, value_at)[0], kind, values)
        elif values == 1 and kind in _INTEGERS:
            tags.setdefault(tag, struct.unpack_from(order + _INTEGERS[kind], data, value_at)[0])
    return tags


def _add(sums: _Sums, data: bytes, at: int, kind: int, values: int) -> None:
    length = values * _SIZES[kind]
    if at + length > len(data):
        return  # damaged, and not read
    sums.size += length
    sums.values += values if _SIZES[kind] > 1 else 0
    if sums.values > MAX_VALUES or sums.size > MAX_ENTRY_BYTES:
        raise DataError(f"{SLOW}: its directories have too many values")
