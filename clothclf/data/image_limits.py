"""Limits on the cost of decoding an image file, checked before and during decoding.

A decoder cannot be interrupted inside its C code, so its work is bounded by what the file declares:
scans, blocks, directory entries and tile size.
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
"""Maximum scans of a JPEG. Each covers the whole image; encoders write about 10, and libtiff has
the same limit."""
MAX_SEGMENTS = 20_000
"""Maximum segments of a JPEG, including those between scans."""
MAX_READS = 250_000
"""Maximum reads of one file: about 3 per JPEG marker, 2 per GIF block, 4 per PNG chunk."""
MAX_RUN_PIXELS = 8_000_000
"""Maximum pixels of a run-length encoded BMP, which Pillow decodes in Python."""
MAX_SECONDS = 30.0
"""Maximum CPU time per image in seconds, checked when the decoder reads more data."""
MAX_ENTRIES = 10_000
"""Maximum entries in all directories of a TIFF or EXIF."""
MAX_VALUES = 300_000
"""Maximum values of all entries; each strip of an uncompressed TIFF takes two."""
MAX_ENTRY_BYTES = 128 * 2**20
MAX_EXIF_BYTES = 4 * 2**20
MAX_TILE_PIXELS = 64_000_000

CHECK_EVERY = 64
"""Number of reads between checks of the limits."""


def limited(content: bytes) -> io.BytesIO:
    """Wrap an encoded image in memory so that it allows at most `MAX_READS` reads."""
    # A smaller file cannot need as many reads; skipping the check saves 15 us for most images.
    return LimitedFile(content) if len(content) > MAX_READS else io.BytesIO(content)


class LimitedFile(io.BytesIO):
    """Encoded image in memory; reading raises DataError beyond the limits.

    Reading raises CancelledError if the thread was stopped.
    """

    def __init__(self, content: bytes) -> None:
        """Start at the first byte, with fresh limits."""
        super().__init__(content)
        self._reads = 0
        self._most = MAX_READS
        self._end_s = time.thread_time() + MAX_SECONDS

    def allow(self, reads: int) -> None:
        """Raise the limit by `reads`."""
        self._most += reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like BytesIO, within the limits."""
        self._reads += 1
        if self._reads % CHECK_EVERY == 0:
            raise_if_stopped()
            if self._reads > self._most:
                raise DataError(f"{SLOW}: it has over {self._most:,} blocks")
            if time.thread_time() > self._end_s:
                raise DataError(f"{SLOW}: over {MAX_SECONDS:g} s")
        return super().read(size)


def inspect(content: bytes) -> int:
    """Return the decoder's buffer size in bytes; raises DataError beyond the limits.

    Returns 0 for formats other than JPEG and TIFF, which have no such buffers.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return _inspect_jpeg(content)
    if content[:4] in _TIFF_STARTS:
        return _inspect_tiff(content)
    return 0


# JPEG

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""JPEG marker; excludes fill bytes and bytes inside compressed data."""
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
            break  # without a scan, decoders continue with the next image of the file
        elif marker == _SCAN:
            scans += 1
            if scans == 1:
                inspect_directories(exif)
                if not progressive and content[start : start + 1] == bytes([components]):
                    return 0  # one scan with all components: decoders read nothing after it
            if scans > MAX_SCANS:
                raise DataError(f"{SLOW}: it has over {MAX_SCANS} scans")
    return 2 * coefficients


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker with the start and end of its payload; skip compressed data."""
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
    """Return the number of coefficients (2 bytes each) of a multi-scan decoder, and components."""
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    sampling = [(byte >> 4, byte & 15) for byte in frame[7 : 6 + 3 * components : 3]]
    most = max((h for h, _ in sampling), default=1) * max((v for _, v in sampling), default=1)
    return width * height * sum(h * v for h, v in sampling) // max(1, most), components


# TIFF, and EXIF, which has the same format

_TIFF_STARTS = (b"II*\0", b"II\0*", b"MM\0*", b"MM*\0", b"II+\0", b"MM\0+")
_SIZES = {
    **dict.fromkeys((1, 2, 6, 7), 1), **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4), **dict.fromkeys((5, 10, 12, 16), 8),
}  # fmt: skip
_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q"}
_BELOW = (34665, 34853, 40965)
"""Tags of subdirectories: EXIF, GPS, interoperability."""
_TILE_WIDTH, _TILE_LENGTH = 322, 323


@dataclass
class _Sums:
    """Totals over all directories of one file."""

    entries: int = 0
    values: int = 0
    size: int = 0
    seen: set[int] = field(default_factory=set)


def _inspect_tiff(content: bytes) -> int:
    tags = inspect_directories(content)
    width, length = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    if width * length > MAX_TILE_PIXELS:
        raise DataError(f"its tiles of {width} x {length} pixels are too large")
    # libtiff and Pillow each hold a copy of one tile, with up to 4 samples of up to 32 bits.
    return 2 * width * length * 16


def inspect_directories(data: bytes) -> dict[int, int]:
    """Return the single integers of the first directory of a TIFF or EXIF, by tag.

    Raises DataError if its directories exceed the limits.
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
    except struct.error:  # truncated: the decoder reports it
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
    for offset in range(at, at + count * size, size):
        tag, kind, values = struct.unpack_from(order + entry, data, offset)
        value_at = offset + struct.calcsize(order + entry)
        if values * _SIZES.get(kind, 0) > offset + size - value_at:
            _add(sums, data, struct.unpack_from(order + word, data, value_at)[0], kind, values)
        elif values == 1 and kind in _INTEGERS:
            tags.setdefault(tag, struct.unpack_from(order + _INTEGERS[kind], data, value_at)[0])
    return tags


def _add(sums: _Sums, data: bytes, at: int, kind: int, values: int) -> None:
    length = values * _SIZES[kind]
    if at + length > len(data):
        return  # damaged: decoders do not read it
    sums.size += length
    sums.values += values if _SIZES[kind] > 1 else 0
    if sums.values > MAX_VALUES or sums.size > MAX_ENTRY_BYTES:
        raise DataError(f"{SLOW}: its directories have too many values")
