"""Images that exhaust a decoder take bounded time and memory, alone and in large numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from clothclf.data.image_limits import SLOW
from clothclf.data.prepare import UNREADABLE
from clothclf.data.rgb import LEVELS
from tests.conftest import draw_jpeg
from tests.faults.hostile_images import HOSTILE, LARGE, MIB, large, saved, scans

ROOT = Path(__file__).parents[2]


Results = dict[str, dict[str, object]]


def measured(names: Iterable[str]) -> Results:
    """Measure the cost of decoding these images, in a separate process."""
    command = [sys.executable, "-m", "tests.faults.hostile_images", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return {name: json.loads(line) for name, line in zip(names, lines, strict=True)}


@pytest.fixture(scope="module")
def hostile() -> Results:
    """Measurements of all hostile images."""
    return measured(HOSTILE)


@pytest.fixture(scope="module")
def largest() -> Results:
    """Measurements of the largest image of each mode."""
    return measured(LARGE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_takes_little_time_and_memory(name: str, hostile: Results) -> None:
    assert hostile[name]["seconds"] < 20, hostile[name]  # idle: 5; other tests share the cores
    assert hostile[name]["bytes"] < 300 * MIB, hostile[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_largest_image_of_any_mode_fits_its_room(name: str, largest: Results) -> None:
    assert largest[name]["problem"] == ""
    assert largest[name]["bytes"] < 1280 * MIB, largest[name]
    assert largest[name]["seconds"] < 30, largest[name]


BENCH = """
import os, signal, sys
os.cpu_count = os.process_cpu_count = lambda: int(os.environ["CORES"])
signal.signal(signal.SIGINT, signal.default_int_handler)
from benchmark.cli import main
from tests.faults.hostile_images import memory_bytes
try:
    main()
finally:
    print("peak", memory_bytes(), file=sys.stderr)
"""


def folder_of(images: dict[str, bytes], path: Path, copies: int) -> Path:
    """Data set of two classes with `copies` of each image."""
    for name, content in images.items():
        original = path / name
        original.write_bytes(content)
        for number in range(copies):
            folder = path / "data" / ("a", "b")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            os.link(original, folder / f"{number}-{name}")
    return path / "data"


def stats(data: Path, cores: int) -> subprocess.Popen[str]:
    """Run `bench data stats` on a folder, as on a machine with `cores` CPU cores."""
    settings = [
        *("data.source=folder", f"data.path={data}", "data.image_size=32"),
        *(
            "data.split.keep_exact_duplicates_together=false",
            f"tracking.folder={data.parent / 'runs'}",
        ),
    ]
    return subprocess.Popen(
        [sys.executable, "-c", BENCH, "data", "stats", *(f"--set={item}" for item in settings)],
        cwd=ROOT,
        env={**os.environ, "CORES": str(cores)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def peak(data: Path, cores: int) -> int:
    """Peak memory of `bench data stats` in bytes."""
    process = stats(data, cores)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return int(errors.split()[-1])


def test_memory_does_not_grow_with_the_threads_that_decode(tmp_path: Path) -> None:
    """Memory freed by one thread is reused by the others."""
    image = saved(Image.new("RGBA", (4000, 4000), (9, 9, 9, 9)), "PNG", compress_level=1)
    assert peak(folder_of({"a.png": image}, tmp_path, 24), cores=16) < 1600 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("cores", [2, 16])
def test_many_of_the_largest_images_stay_within_4_gib(cores: int, tmp_path: Path) -> None:
    images = {f"{number}.png": build() for number, build in enumerate(LARGE.values())}
    assert peak(folder_of(images, tmp_path, 4), cores) < 4 * 2**30


def test_ctrl_c_is_answered_within_seconds_while_images_are_decoded(tmp_path: Path) -> None:
    """Threads that wait for memory give up instead of taking their turn."""
    data = folder_of({"a.png": large("RGBA", "PNG")}, tmp_path, 40)
    process = stats(data, cores=16)
    cache = tmp_path / "runs" / "cache" / "pixels"
    while not (cache.is_dir() and any(cache.iterdir())):
        time.sleep(0.1)
        assert process.poll() is None, process.stderr
    time.sleep(1)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert time.monotonic() - asked < 10
    assert list(cache.iterdir()) == []


def test_refused_images_are_counted_by_their_reason(tmp_path: Path) -> None:
    plain = {f"{number}.jpg": draw_jpeg(number) for number in range(8)}
    floats = saved(Image.new("F", (8, 8), 3.0), "TIFF")
    bad = {"slow.jpg": scans(200, side=64), "levels.tif": floats, "text.png": b"no image"}
    process = stats(folder_of({**plain, **bad}, tmp_path, 2), cores=2)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    reasons = (SLOW, LEVELS, UNREADABLE)
    assert all(f"dropped      2: {reason}" in output for reason in reasons), output
