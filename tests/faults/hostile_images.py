"""Images made to take a decoder's memory or time; each is a few lines of code, none is a file.

`python -m tests.faults.hostile_images NAME …` makes and decodes them one after the other, and
prints what each took as a line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from clothclf.allocator import release_free_memory
from clothclf.data.decode import decoding, pixel_hash, resized
from clothclf.errors import DataError

MIB = 2**20


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An encoded image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# JPEG


def segment(marker: int, payload: bytes) -> bytes:
    """A marker with its length and payload."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def scans(count: int, side: int = 2000, progressive: bool = True, frame: int = 0) -> bytes:
    """A JPEG whose last scan is there so many times more; `frame` is another frame's marker."""
    image = Image.new("RGB", (side, side), "red")
    content = saved(image, "JPEG", progressive=progressive)
    last = content.rindex(b"\xff\xda")
    if not progressive:  # only the first component, so that others are waited for
        content = content[:last] + segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\xff\xd9"
    if frame:
        place = content.index(b"\xff\xc2")
        content = content[:place] + bytes([0xFF, frame]) + content[place + 2 :]
        last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + b"\xff\xd9"


def jpeg_with(between: bytes) -> bytes:
    """A small JPEG with something behind its start."""
    content = saved(Image.new("RGB", (32, 32), "red"), "JPEG")
    return content[:2] + between + content[2:]


# TIFF and EXIF

TagValue = tuple[int, int, int, bytes | int]
"""Tag, type, number of values; the values, or the place where they lie."""


def directory(tags: list[TagValue], at: int = 8) -> bytes:
    """A directory that stands at `at`, and behind it the values that do not fit in."""
    behind = at + 2 + 12 * len(tags) + 4
    entries, values = struct.pack("<H", len(tags)), b""
    for tag, kind, count, value in tags:
        if isinstance(value, bytes):
            place = behind + len(values)
            values += value
        else:
            place = value
        entries += struct.pack("<HHLL", tag, kind, count, place)
    return entries + bytes(4) + values


def tiff(tags: list[TagValue], behind: bytes = b"") -> bytes:
    """A TIFF of one directory, with more behind it."""
    return b"II*\0" + struct.pack("<L", 8) + directory(sorted(tags, key=lambda t: t[0])) + behind


def grey_tiff(width: int, height: int, *more: TagValue, behind: bytes = b"") -> bytes:
    """Of 8 bits; compression and place of its pixels are in `more`."""
    size: list[TagValue] = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1)]
    return tiff([*size, *more], behind)


def overlapping_tags(entries: int, size: int) -> bytes:
    """A directory whose every entry has the same `size` bytes, as of EXIF."""
    start = 8 + 2 + 12 * entries + 4
    tags: list[TagValue] = [(1000 + number, 7, size, start) for number in range(entries)]
    return tiff(tags, bytes(size))


def exif_segments(exif: bytes) -> bytes:
    """EXIF in as many APP1 segments as it takes."""
    parts = [exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    return b"".join(segment(0xE1, b"Exif\0\0" + part) for part in parts)


def huge_tile() -> bytes:
    """One pixel, in a tile of 144 million."""
    side = 12_000
    packer = zlib.compressobj(9)
    row = bytes(side * 100)
    data = b"".join(packer.compress(row) for _ in range(side // 100)) + packer.flush()
    tags: list[TagValue] = [(259, 3, 1, 8), (322, 4, 1, side), (323, 4, 1, side)]
    places = 8 + 2 + 12 * 9 + 4
    found: list[TagValue] = [(324, 4, 1, places), (325, 4, 1, len(data))]
    return grey_tiff(1, 1, *tags, *found, behind=data)


def many_strips(count: int) -> bytes:
    """Strips far beyond the image."""
    places = struct.pack("<L", 8) * count
    return grey_tiff(8, 8, (259, 3, 1, 1), (273, 4, count, places), (278, 3, 1, 1))


def rational_resolution(count: int) -> bytes:
    """A resolution of so many fractions."""
    strip: list[TagValue] = [(273, 4, 1, 8), (279, 4, 1, 64), (278, 4, 1, 8)]
    return grey_tiff(
        8, 8, (259, 3, 1, 1), *strip, (282, 5, count, struct.pack("<LL", 7, 3) * count)
    )


def below(count: int) -> bytes:
    """A TIFF whose EXIF directory has an entry of so many fractions."""
    plain = saved(Image.new("L", (8, 8)), "TIFF", exif=_exif_with_directory())
    place = plain.index(struct.pack("<HHL", 34665, 4, 1)) + 8
    values = struct.pack("<LL", 7, 3) * count
    behind = directory([(33434, 5, count, values)], len(plain))
    return plain[:place] + struct.pack("<L", len(plain)) + plain[place + 4 :] + behind


def _exif_with_directory() -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(34665)[33434] = 1.0
    exif[34665] = {33434: 1.0}
    return exif


# GIF, PNG, BMP, WebP


def gif_with(between: bytes) -> bytes:
    """A GIF with something before its image."""
    content = saved(Image.new("P", (8, 8)), "GIF")
    place = content.index(b",", 13)
    return content[:place] + between + content[place:]


def gif_larger_than_its_screen() -> bytes:
    """A frame of gigapixels on a screen of 8 x 8."""
    content = bytearray(saved(Image.new("P", (8, 8)), "GIF"))
    place = content.index(b",", 13)
    content[place + 5 : place + 9] = struct.pack("<HH", 60_000, 60_000)
    return bytes(content)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    backbone = kind + content
    return struct.pack(">I", len(content)) + backbone + struct.pack(">I", zlib.crc32(backbone))


def png_with(before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG with chunks before and behind its image's."""
    content = saved(Image.new("RGB", (8, 8)), "PNG")
    first, last = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    return content[:first] + before + content[first:last] + after + content[last:]


def png_in_tiny_chunks(side: int) -> bytes:
    """Each byte of an image's data in a chunk of its own."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 1), dtype=np.uint8)
    pixels[:, 0] = 0
    data = zlib.compress(pixels.tobytes(), 1)
    parts = [chunk(b"IDAT", data[at : at + 1]) for at in range(len(data))]
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + b"".join(parts) + chunk(b"IEND", b"")


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """A compressed BMP with a palette that is not grey."""
    palette = bytes([1, 2, 3, 0]) * 256
    offset = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(runs), 0, 0, offset) + info + palette + runs


def webp_canvas(side: int) -> bytes:
    """An animation of one small frame on a huge canvas."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    content[24:27] = content[27:30] = (side - 1).to_bytes(3, "little")
    return bytes(content)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "JPEG: thousands of scans": lambda: scans(20_000),
    "JPEG: thousands of sequential scans": lambda: scans(20_000, progressive=False),
    "JPEG: thousands of arithmetic scans": lambda: scans(20_000, frame=0xCA),
    "JPEG: scans behind an empty image": lambda: b"\xff\xd8\xff\xd9" + scans(20_000),
    "JPEG: scans behind an end in a comment": lambda: _end_in_a_comment(scans(20_000)),
    "JPEG: filling bytes": lambda: jpeg_with(b"\xff" * (60 * MIB)),
    "JPEG: filling bytes alone": lambda: b"\xff\xd8" + b"\xff" * (60 * MIB),
    "JPEG: bytes that are no marker": lambda: jpeg_with(b"\xff\x00" * (30 * MIB)),
    "JPEG: empty comments": lambda: jpeg_with(segment(0xFE, b"") * (15 * MIB)),
    "JPEG: full comments": lambda: jpeg_with(segment(0xFE, bytes(65_000)) * 1000),
    "JPEG: empty EXIF": lambda: jpeg_with(segment(0xE1, b"Exif\0\0") * (6 * MIB)),
    "JPEG: EXIF of 60 MiB": lambda: jpeg_with(exif_segments(bytes(60 * MIB))),
    "JPEG: EXIF that overlaps": lambda: jpeg_with(exif_segments(overlapping_tags(2700, 30_000))),
    "JPEG: EXIF that overlaps, of many parts": lambda: jpeg_with(
        exif_segments(overlapping_tags(9000, 3 * MIB))
    ),
    "JPEG: EXIF of fractions": lambda: jpeg_with(exif_segments(rational_resolution(500_000))),
    "GIF: comments": lambda: gif_with((b"!\xfe" + (b"\xff" + bytes(255)) * 1000 + b"\0") * 240),
    "GIF: comments of a byte": lambda: gif_with(b"!\xfe" + b"\x01x" * (30 * MIB) + b"\0"),
    "GIF: extensions": lambda: gif_with(b"!\xf9\0" * (20 * MIB)),
    "GIF: frame larger than its screen": gif_larger_than_its_screen,
    "PNG: chunks before the image": lambda: png_with(before=chunk(b"prVt", b"") * (5 * MIB)),
    "PNG: chunks behind the image": lambda: png_with(after=chunk(b"prVt", b"") * (5 * MIB)),
    "PNG: a byte in each chunk": lambda: png_in_tiny_chunks(1000),
    "PNG: packed text": lambda: png_with(
        before=chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(200 * MIB), 9))
    ),
    "PNG: EXIF that overlaps": lambda: png_with(
        before=chunk(b"eXIf", overlapping_tags(60_000, MIB))
    ),
    "BMP: ends of lines": lambda: run_length_bmp(8, 8, bytes(60 * MIB)),
    "BMP: runs of a pixel": lambda: run_length_bmp(8000, 8000, b"\1\2" * (30 * MIB)),
    "BMP: runs of a pixel, smaller": lambda: run_length_bmp(2800, 2800, b"\1\2" * (8 * MIB)),
    "BMP: lines that are filled up": lambda: run_length_bmp(2800, 2800, b"\1\2\0\0" * 2800),
    "TIFF: entries that overlap": lambda: overlapping_tags(60_000, 300_000),
    "TIFF: millions of strips": lambda: many_strips(10_000_000),
    "TIFF: a resolution of fractions": lambda: rational_resolution(5_000_000),
    "TIFF: fractions in its EXIF": lambda: below(5_000_000),
    "TIFF: a huge tile": huge_tile,
    "WebP: a huge canvas": lambda: webp_canvas(16_383),
    "WebP: EXIF that overlaps": lambda: saved(
        Image.new("RGB", (8, 8)), "WEBP", exif=overlapping_tags(9000, 10 * MIB)
    ),
}
"""Small once packed, as in a zip; of few pixels."""


def _end_in_a_comment(content: bytes) -> bytes:
    place = content.rindex(b"\xff\xda")
    return content[:place] + segment(0xFE, b"\xff\xd9") + content[place:]


# Large images that are none the less images

SIDE = 8000


def large(mode: str, kind: str, **options: object) -> bytes:
    """The largest image that is read, of one colour."""
    return saved(Image.new(mode, (SIDE, SIDE)), kind, **options)


LARGE: dict[str, Callable[[], bytes]] = {
    "PNG RGBA": lambda: large("RGBA", "PNG"),
    "PNG LA": lambda: large("LA", "PNG"),
    "PNG grey with a clear level": lambda: large("L", "PNG", transparency=0),
    "PNG of 16 bits": lambda: large("I;16", "PNG"),
    "PNG palette": lambda: large("P", "PNG", transparency=bytes(256)),
    "GIF": lambda: large("P", "GIF", transparency=0),
    "BMP black and white": lambda: large("1", "BMP"),
    "TIFF float": lambda: large("F", "TIFF", compression="tiff_adobe_deflate"),
    "TIFF 32 bits": lambda: large("I", "TIFF", compression="tiff_adobe_deflate"),
    "TIFF CMYK": lambda: large("CMYK", "TIFF", compression="tiff_lzw"),
    "JPEG progressive": lambda: large("RGB", "JPEG", progressive=True),
    "JPEG progressive CMYK": lambda: large("CMYK", "JPEG", progressive=True),
    "JPEG turned": lambda: large("RGB", "JPEG", exif=_turned()),
    "WebP": lambda: large("RGBA", "WEBP", lossless=True, method=0),
    "PNG turned": lambda: large("RGBA", "PNG", exif=_turned()),
}


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def memory_bytes(of: str = "VmHWM") -> int:
    """Most memory that this process has held, or holds (VmRSS)."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(of))


def measure(content: bytes) -> dict[str, object]:
    """Decode as for a cache: what is wrong, CPU seconds, bytes beyond those of the file."""
    with contextlib.suppress(OSError):  # from here on, the most is counted anew
        Path("/proc/self/clear_refs").write_text("5")
    before, started, problem = memory_bytes("VmRSS"), time.process_time(), ""
    try:
        with decoding(content) as decoded:
            resized(decoded.image, 112)
            pixel_hash(decoded.image)
    except DataError as error:
        problem = str(error)
    seconds = time.process_time() - started
    result = {"problem": problem, "seconds": seconds, "bytes": memory_bytes() - before}
    release_free_memory()
    return result


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(measure((HOSTILE | LARGE)[name]())), flush=True)
