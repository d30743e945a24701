"""Hostile files are dropped with a counted reason, or refused in one sentence with exit code 2."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm  # noqa: F401 - so that its own caches are made before anything is watched
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from benchmark.cli import main
from benchmark.config.study import StudySettings, TrackingSettings, load_study
from benchmark.engine.confusion_plot import draw_confusion
from benchmark.report.formats import FORMATS
from benchmark.report.write import read_report
from clothclf.data.prepare import prepare
from clothclf.errors import DataError, SettingsError, WeightsError
from clothclf.models.load_weights import load_backbone
from clothclf.models.weights import WeightsResolver
from clothclf.results import ClassResult, DataSummary, Evaluation, Weights
from clothclf.settings import ArchitectureSettings, DataSettings
from tests.benchmark.examples import DATA, make_record, make_spec
from tests.benchmark.test_report_contents import fail, keep
from tests.conftest import KaggleBuilder, decode_rgb, draw_jpeg
from tests.faults.guard import nothing_but

CONFIG = "study: s\ndata: {image_size: 8}\narchitectures: [test_resnet]\n"
COUNTS = {"Tops": 12, "Shirts": 12}
Member = tuple[str | zipfile.ZipInfo, bytes]


@pytest.fixture(autouse=True)
def stays_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """For any input, no file outside the folder changes and no program starts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    with nothing_but(tmp_path):
        yield


def refusal(*arguments: str) -> str:
    """Return the message of `bench`: one printable sentence, with exit code 2."""
    done = CliRunner().invoke(main, [*arguments])
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    lines = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert lines == done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert len(lines[0]) < 1200
    return lines[0]


def stats(path: Path | str, *more: str) -> str:
    settings = ["data.source=kaggle", f"data.path={path}", *more]
    return refusal("data", "stats", "-c", "c.yaml", *(f"--set={item}" for item in settings))


def prepared(path: Path) -> DataSummary:
    return prepare(DataSettings(source="kaggle", path=path, image_size=8), Path("cache")).summary


# Archives


def member(name: str, kind: int, content: bytes = b"x") -> Member:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info, content


def bundled(images: list[Member], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Valid archive of 24 images with additional or replaced members."""
    table, clean = KaggleBuilder.contents(COUNTS)
    replaced = {item if isinstance(item, str) else item.filename for item, _ in images}
    path = Path("data.zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("styles.csv", table)
        for number, content in clean.items():
            if f"images/{number}.jpg" not in replaced:
                archive.writestr(f"images/{number}.jpg", content)
        for item, content in images:
            archive.writestr(item, content)
    return path


def nested_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("styles.csv", bytes(10_000_000))
    return file.getvalue()


FIRST = "images/1000.jpg"
NO_IMAGE, UNREADABLE = "id without an image", "image does not decode"

BAD_MEMBERS: dict[str, tuple[Member, str]] = {
    "a device": (member(FIRST, stat.S_IFCHR), NO_IMAGE),
    "a pipe": (member(FIRST, stat.S_IFIFO), NO_IMAGE),
    "a link": (member(FIRST, stat.S_IFLNK, b"../../etc/passwd"), NO_IMAGE),
    "an archive": ((FIRST, nested_zip()), UNREADABLE),
    "a bomb": ((FIRST, bytes(70_000_000)), UNREADABLE),
    "nothing": ((FIRST, b""), UNREADABLE),
    "no image": ((FIRST, b"<script>"), UNREADABLE),
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_a_bad_member_is_dropped_and_counted(name: str) -> None:
    item, reason = BAD_MEMBERS[name]
    summary = prepared(bundled([item]))
    assert summary.dropped == {reason: 1}
    assert sum(summary.images.values()) == 23


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "e\x1b[2J", "e\nvil"])
def test_members_that_point_elsewhere_change_nothing(name: str, tmp_path: Path) -> None:
    """Also in folder names, which messages would show."""
    clean = prepared(bundled([]))
    path = bundled([(f"{name}/styles.csv", b"id\n"), (f"{name}/images/1.jpg", b"x")])
    assert prepared(path) == clean
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_cannot_be_undone_in_parts_is_not_undone(method: int) -> None:
    """A kilobyte of bzip2 can be a gigabyte of zeros, which zipfile reads at once."""
    path = bundled([])
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images/1000.jpg", b"x")
        archive.writestr("styles.csv", bytes(10**8))
    tracemalloc.start()
    try:
        assert "styles.csv: is compressed with a method other than deflate" in stats(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**7
    finally:
        tracemalloc.stop()


def lie(path: Path, name: str, size: int) -> None:
    """Change the size declared in both headers of a member."""
    content = bytearray(path.read_bytes())
    for mark, name_at, size_at in ((b"PK\x03\x04", 30, 22), (b"PK\x01\x02", 46, 24)):
        place = content.find(mark)
        while content[place + name_at : place + name_at + len(name)] != name.encode():
            place = content.find(mark, place + 1)
        content[place + size_at : place + size_at + 4] = struct.pack("<I", size)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [0, 10, 2**32 - 2])
def test_a_declared_size_is_not_believed(size: int) -> None:
    """Smaller than the member, or four gigabytes: nothing beyond the member is unpacked."""
    path = bundled([(FIRST, draw_jpeg(1))])
    lie(path, FIRST, size)
    assert prepared(path).dropped == {UNREADABLE: 1}


def test_members_that_share_bytes_are_refused() -> None:
    """A few kilobytes could unpack to petabytes: each name refers to the same compressed zeros."""
    path = bundled([])
    content = path.read_bytes()
    start = content.rfind(b"PK\x05\x06")
    offset = struct.unpack("<I", content[start + 16 : start + 20])[0]
    first = content.find(b"PK\x01\x02")
    entry = bytearray(content[first : content.find(b"PK\x01\x02", first + 1)])
    central = content[offset:start] + bytes(entry)
    end = bytearray(content[start:])
    count = struct.unpack("<H", end[8:10])[0] + 1
    end[8:20] = struct.pack("<HHII", count, count, len(central), offset)
    path.write_bytes(content[:offset] + central + bytes(end))
    assert "its members 'styles.csv' and 'styles.csv' share the same bytes" in stats(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_used_only_if_both_are_equal() -> None:
    """Programs use the first or the last; which one is meant is unknown."""
    table, clean = KaggleBuilder.contents(COUNTS)
    path = bundled([])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images/1001.jpg", clean["1001"])
        archive.writestr(FIRST, draw_jpeg(77))
    assert prepared(path).dropped == {UNREADABLE: 1}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("styles.csv", table.replace("Tops", "Caps"))
    assert "styles.csv: occurs more than once in the archive" in stats(path)


@pytest.mark.parametrize("name", [b"\0ame", b"n\0me", b"\xff\xfe\xff\xff"])
def test_a_member_whose_name_is_no_text_is_passed_over(name: bytes) -> None:
    """zipfile truncates a name at its first NUL, which may leave an empty name."""
    clean = prepared(bundled([]))
    path = bundled([("name", b"x")])
    path.write_bytes(path.read_bytes().replace(b"name", name))
    assert prepared(path) == clean


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe")
    assert "pipe is neither a zip archive nor a folder" in stats("pipe")


# Tables


def table_of(content: bytes) -> Path:
    path = bundled([])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("styles.csv", content)
        archive.writestr("images/1.jpg", b"x")
    return path


HEAD = b"id,articleType\n"
BAD_TABLES = {
    "a row for each byte": (HEAD + b"\n" * 4_000_000, "is too large a table"),
    "a bomb of columns": (b"id," * 30_000 + b"\n" + b"1\n" * 1000, "is too large a table"),
    "columns times rows": (
        b"id,articleType" + b"," * 900 + b"\n" + b"1\n" * 40_000,
        "is too large a table",
    ),
    "one line of commas": (b"," * 10_000_000, "is too large a table"),
    "no table of its size": (HEAD + bytes(130 * 2**20), "styles.csv: is larger than 128 MiB"),
    "Latin-1 names": ("id,articleType,größe\n".encode("latin-1"), "save it as UTF-8"),
    "a huge field": (HEAD + b'1,"' + b"x" * 140_000 + b'"\n', "line 2: is not readable as CSV"),
    "a quote never closed": (HEAD + b'1,"' + b"\n" * 140_000, "line 2: is not readable as CSV"),
    "NULs alone": (bytes(1000), "is empty"),
    "ids that are paths": (
        HEAD + b"../x,A\n/etc/passwd,A\na/b,B\n..,B\n-rf,A\n\\x,A\n$(id),A\n",
        "none of its 7 rows has an id, a label and an image (id is not a plain name 7)",
    ),
    "a terminal's codes": (b"id,articleTyp\x1b[2J\n", "its first line is not plain text"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused_in_little_memory(name: str) -> None:
    content, says = BAD_TABLES[name]
    path = table_of(content)
    started = time.monotonic()
    assert says in stats(path)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_characters_without_a_mark_are_read_and_told(encoding: str) -> None:
    table, clean = KaggleBuilder.contents(COUNTS)
    path = KaggleBuilder(Path()).folder(table.encode(encoding), clean)
    summary = prepared(path)
    assert sum(summary.images.values()) == 24
    assert summary.repaired == {"NUL characters removed": 1}


# Images


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_with_text(size: int) -> bytes:
    """Image with a compressed comment that unpacks to `size` bytes."""
    content = saved(Image.new("RGB", (4, 4)), "PNG")
    backbone = b"zTXtc\0\0" + zlib.compress(bytes(size), 9)
    chunk = (
        struct.pack(">I", len(backbone) - 4) + backbone + struct.pack(">I", zlib.crc32(backbone))
    )
    return content[:33] + chunk + content[33:]


@pytest.mark.parametrize("size", [(70_000, 1), (1, 70_000)])
def test_a_line_of_pixels_is_refused(size: tuple[int, int]) -> None:
    """Resizing it would take memory for each of its pixels, once for each row."""
    with pytest.raises(DataError, match="one side is too long"):
        decode_rgb(saved(Image.new("L", size), "PNG"))


def test_a_packed_comment_is_not_unpacked_without_bound() -> None:
    content = png_with_text(200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            decode_rgb(content)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_large_16_bit_images_are_scaled_in_parts() -> None:
    content = saved(Image.fromarray(np.zeros((4000, 4000), dtype=np.uint16)), "PNG")
    tracemalloc.start()
    try:
        decode_rgb(content)
        # As float64 at once it would take 128 MB, and again for each step.
        assert tracemalloc.get_traced_memory()[1] < 120_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_black_or_white(value: float) -> None:
    levels = np.full((4, 4), value, dtype=np.float32)
    pixel = np.asarray(decode_rgb(saved(Image.fromarray(levels), "TIFF")).image)[0, 0].tolist()
    assert pixel == ([255] * 3 if value > 0 else [0] * 3)


def test_odd_images_of_every_kind_are_kept_and_told(kaggle: KaggleBuilder) -> None:
    """Animated, 16-bit, CMYK, palette, rotated, one pixel, very wide: 7 of 24 in one data set."""
    table, images = kaggle.contents(COUNTS)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    base = Image.new("RGB", (12, 16), "red")
    frames = [Image.new("RGB", (12, 16), colour) for colour in ("blue", "green")]
    odd = [
        saved(base, "GIF", save_all=True, append_images=frames),
        saved(Image.fromarray(np.full((16, 12), 40_000, dtype=np.uint16)), "PNG"),
        saved(base.convert("CMYK"), "JPEG"),
        saved(base.convert("P"), "PNG"),
        saved(Image.new("RGB", (16, 12), "red"), "JPEG", exif=rotated),
        saved(Image.new("RGB", (1, 1), "red"), "PNG"),
        saved(Image.new("RGB", (60_000, 1), "red"), "PNG"),
    ]
    images |= {str(1000 + place): content for place, content in enumerate(odd)}
    summary = prepared(kaggle.folder(table, images))
    assert sum(summary.images.values()) == 24
    assert summary.dropped == {}
    assert summary.repaired["image of another size, resized"] == 2
    assert summary.repaired["image converted to RGB"] >= 3


# Weights


def weights_fault(path: Path | str) -> str:
    with pytest.raises(WeightsError) as caught:
        load_backbone("test_resnet", 64, WeightsResolver(str(path)).resolve("test_resnet"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_classifier_of_no_bytes_and_a_billion_classes_is_not_built() -> None:
    save_file({"fc.weight": torch.zeros(10**9, 0)}, "w.safetensors")
    assert "its classifier has 1,000,000,000 classes" in weights_fault("w.safetensors")


def tensor(name: str, kind: str, shape: list[int], start: int, end: int) -> str:
    return json.dumps({name: {"dtype": kind, "shape": shape, "data_offsets": [start, end]}})[1:-1]


BYTES = tensor("a", "U8", [4], 0, 4)
HEADERS = {
    "longer than the file": struct.pack("<Q", 2**40) + b"{}",
    "longer than memory": struct.pack("<Q", 2**63) + b"{}",
    "tensors beyond the end": tensor("a", "F32", [9_999_999], 0, 39_999_996),
    "shape and bytes differ": tensor("a", "F32", [99_999], 0, 4),
    "sizes that overflow": tensor("a", "F32", [2**63 - 1, 4], 0, 4),
    "tensors that overlap": f"{BYTES}, {tensor('b', 'U8', [4], 0, 4)}",
    "a name twice": f"{BYTES}, {BYTES}",
    "deep nesting": '"a": ' + "[" * 50_000,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_lying_header_is_refused(name: str) -> None:
    header = HEADERS[name]
    if isinstance(header, str):
        text = f"{{{header}}}".encode()
        header = struct.pack("<Q", len(text)) + text
    Path("w.safetensors").write_bytes(header + bytes(4))
    message = weights_fault("w.safetensors")
    assert "is not a readable weights file" in message or "does not fit" in message


def test_a_packed_checkpoint_is_not_unpacked() -> None:
    """torch stores tensors uncompressed; in a compressed file, a megabyte could be a gigabyte."""
    torch.save({"fc.weight": torch.zeros(500, 1000)}, "plain.pth")
    with (
        zipfile.ZipFile("plain.pth") as plain,
        zipfile.ZipFile("w.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    assert "w.pth is a compressed archive" in weights_fault("w.pth")


class Hostile:
    """Creates a folder when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("run",)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin"])
def test_no_code_in_a_bare_pickle_is_run(suffix: str) -> None:
    """Older torch formats are bare pickles, too."""
    Path(f"w.{suffix}").write_bytes(pickle.dumps(Hostile()))
    assert "is not a readable weights file" in weights_fault(f"w.{suffix}")
    assert not Path("run").exists()


def test_a_name_too_long_for_weights_is_one_sentence() -> None:
    assert "cannot be read: File name too long" in weights_fault("x" * 5000)


# Configs

DEEP = "[" * 300 + "]" * 300
BAD_CONFIGS: dict[str, tuple[str, str]] = {
    "a billion laughs": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" + CONFIG,
        "aliases are not allowed",
    ),
    "an object": (CONFIG + "x: !!python/object/new:os.mkdir [run]\n", "not valid YAML"),
    "an object by a short tag": (
        "%TAG !p! tag:yaml.org,2002:python/\n---\n" + CONFIG + "x: !p!object/apply:os.mkdir [run]",
        "not valid YAML",
    ),
    "a module": (CONFIG + "x: !!python/module:antigravity\n", "not valid YAML"),
    "deep nesting": (CONFIG + f"x: {DEEP}\n", "nested too deeply"),
    "endless nesting": (CONFIG + "x: " + "[" * 200_000, "nested too deeply"),
    "a key twice, below": (CONFIG + "train: {epochs: 1, epochs: 2}\n", "duplicate key"),
    "a date as key": (CONFIG + "2024-01-01: 1\n", "is not text"),
    "bytes as key": (CONFIG + "!!binary aGk=: 1\n", "is not text"),
    "a list as key": (CONFIG + "? [a]\n: 1\n", "not valid YAML"),
    "a huge number": (CONFIG + f"seeds: [0x{'f' * 100_000}]\n", "a number has 100002 characters"),
    "a huge number by sixties": (CONFIG + f"seeds: [1{':59' * 99_999}]\n", "a number has"),
    "a number that overflows": (CONFIG + f"seeds: [1{':59' * 300}.5]\n", "a number has"),
    "an empty number": (CONFIG + 'seeds: [!!int ""]\n', "a value does not match its tag"),
    "no truth": (CONFIG + "measure: !!bool perhaps\n", "a value does not match its tag"),
    "no date": (CONFIG + "device: !!timestamp never\n", "a value does not match its tag"),
    "half a character": (CONFIG + 'device: "\\ud800"\n', "an incomplete character"),
    "a NUL": (CONFIG + "device: cpu\0\n", "not valid YAML"),
    "two documents": (CONFIG + "---\n" + CONFIG, "found another document"),
    "a huge value": (CONFIG + f"device: {'x' * 900_000}\n", "device: string should match"),
    "a NUL in a folder's name": (CONFIG + 'tracking: {folder: "a\\0b"}\n', "invalid path"),
    "a folder's name too long": (CONFIG + f"tracking: {{folder: {'x' * 300}}}\n", "invalid path"),
    "a huge file": (CONFIG + "#" * 1_000_001, "larger than 1 MB"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_config_is_refused_by_name(name: str) -> None:
    text, says = BAD_CONFIGS[name]
    Path("bad.yaml").write_text(text)
    started = time.monotonic()
    message = refusal("report", "-c", "bad.yaml")
    assert says in message
    assert "bad.yaml" in message
    assert not Path("run").exists()
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_config_of_another_encoding_says_so(encoding: str) -> None:
    Path("bad.yaml").write_bytes((CONFIG + "# é\n").encode(encoding))
    assert "UTF-8" in refusal("report", "-c", "bad.yaml") or encoding == "utf-16-le"
    assert "bad.yaml" in refusal("report", "-c", "bad.yaml")


def test_a_config_that_never_ends_is_not_read_to_its_end() -> None:
    assert "larger than 1 MB" in refusal("report", "-c", "/dev/zero")


@pytest.mark.parametrize("path", ["x" * 5000, "/".join(["x" * 200] * 50)])
def test_a_config_path_too_long_is_one_sentence(path: str) -> None:
    assert "File name too long" in refusal("report", "-c", path)


# Names

HOSTILE = {
    "a shell's text": "$(rm -rf x)",
    "backquotes": "`id`; rm -rf .",
    "a path": "../../..",
    "an absolute path": "/etc/passwd",
    "HTML": "<script>alert(1)</script>",
    "a link": "[a](javascript:alert(1))",
    "an image": "![a](http://example.com/a.png)",
    "a table's bars": "a | b | c",
    "a formula": "$\\frac$ \\$ $x$",
    "rich markup": "[/red][bold]x[/]",
    "format fields": "{0.__class__} %s %(x)s",
    "right to left": "\u05d0 ab",
    "a line break": "a\n# b",
    "a NUL": "a\0b",
    "a terminal's codes": "\x1b[2J\x1b]0;x\x07",
    "300 characters": "x" * 300,
    "nothing": "",
}
LABELS = {key: text for key, text in HOSTILE.items() if text.isprintable() and 0 < len(text) < 101}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_studys_name_is_plain_or_refused(name: str) -> None:
    """It becomes the name of a folder and of an experiment."""
    with pytest.raises(SettingsError, match="study: string should match") as caught:
        study_of(study=HOSTILE[name])
    assert len(str(caught.value)) < 300


def study_of(**values: object) -> StudySettings:
    Path("made.yaml").write_text(
        json.dumps({"study": "s", "architectures": ["test_resnet"], **values})
    )
    return load_study(Path("made.yaml"))


@pytest.mark.parametrize(
    "name", ["a shell's text", "a path", "a terminal's codes", "300 characters", "nothing"]
)
def test_an_architectures_name_is_known_or_refused(name: str) -> None:
    """On the command line it is refused, and no folder is created from it."""
    done = CliRunner().invoke(main, ["run", "-c", "c.yaml", "--dry-run", "--", HOSTILE[name]])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    told = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert len(told) == 1
    assert told[0].isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_report_shows_hostile_text_as_text(name: str, tmp_path: Path) -> None:
    """In the data's title, a weights file's name, a reason, and an architecture without a run."""
    text = HOSTILE[name] or " "
    summary = DATA.__class__(**{**vars(DATA), "title": text})
    weights = Weights("file", text, "0" * 64, None, note=text)
    keep(tmp_path, make_record(make_spec(data_summary=summary, weights=weights), 0.8, 1000))
    fail(tmp_path, make_spec("resnet18", data_summary=summary), text)
    study = StudySettings(
        study="s",
        architectures=(ArchitectureSettings(name=text[:200]),),
        tracking=TrackingSettings(folder=tmp_path),
    )
    made = read_report(study, Path("s.yaml"))
    report = made.text("md")
    assert "<script" not in report
    assert "](" not in report.replace("]\\(", "")
    assert "\0" not in report
    assert "\x1b" not in report
    assert "\n# b" not in report
    rows = [line for line in report.splitlines() if line.startswith("| ")]
    assert {row.replace("\\|", "").count("|") for row in rows[:4]} == {12}
    for form in FORMATS:
        assert made.text(form).encode("utf-8")


@pytest.mark.parametrize("name", LABELS)
def test_a_hostile_class_name_is_drawn_as_text(name: str) -> None:
    labels = (LABELS[name], "b")
    results = tuple(ClassResult(label, 1, 1.0, 1.0, 1.0) for label in labels)
    evaluation = Evaluation(2, {"accuracy": 1.0}, results, ((1, 0), (0, 1)))
    draw_confusion(evaluation, Path("c.png"), LABELS[name])
    assert Image.open("c.png").format == "PNG"


def test_many_classes_are_an_image_of_bounded_size() -> None:
    """Its size would grow with each of thousands of classes and take gigabytes, after training."""
    count = 120
    results = tuple(ClassResult(str(number), 1, 1.0, 1.0, 1.0) for number in range(count))
    confusion = tuple((0,) * count for _ in range(count))
    draw_confusion(Evaluation(count, {"accuracy": 1.0}, results, confusion), Path("c.png"), "t")
    assert max(Image.open("c.png").size) < 5000


def test_hostile_class_names_are_classes_like_any_other(kaggle: KaggleBuilder) -> None:
    """One-line names are kept unchanged; others are dropped and counted."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["id", "articleType"])
    images: dict[str, bytes] = {}
    for label in HOSTILE.values():
        for _ in range(5):
            number = str(1000 + len(images))
            images[number] = draw_jpeg(len(images))
            writer.writerow([number, label])
    summary = prepared(kaggle.folder(file.getvalue(), images))
    # NULs are removed from a table, which leaves a valid name.
    assert set(summary.classes) == {*LABELS.values(), "ab"}
    assert summary.dropped == {"label is not one short line": 15, "no label": 5}


def test_an_archives_hostile_name_is_one_printable_title(tmp_path: Path) -> None:
    path = bundled([]).rename(tmp_path / "a\n\x1b[2J<b>.zip")
    assert prepared(path).title == "a??[2J<b>.zip"


@pytest.mark.parametrize("name", ["[red] :smile:.zip", "$(touch run) <b>.zip"])
def test_a_plan_shows_an_archives_name_as_it_is(name: str) -> None:
    bundled([]).rename(name)
    settings = ["data.source=kaggle", f"data.path='{name}'", "model.weights=none"]
    arguments = ["run", "--all", "--dry-run", "-c", "c.yaml"]
    done = CliRunner().invoke(main, [*arguments, *(f"--set={item}" for item in settings)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert name in done.stderr
    assert not Path("run").exists()
