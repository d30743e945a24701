"""The cache is deleted during a study, by `bench data clean` or by hand.

The moments are drawn from a seed, which is printed; BENCH_FAULTS_SEED repeats them.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.runs.root import clean_cache
from clothclf.data.atomic import write_text
from clothclf.data.prepare import prepare
from clothclf.settings import DataSettings, DemoSettings
from tests.benchmark.conftest import run_bench
from tests.faults import study
from tests.faults.conftest import Undisturbed
from tests.faults.test_kill import SEED
from tests.faults.test_machine import wait_for


def clean(folder: Path) -> str:
    """Run `bench data clean`; return its output."""
    done = run_bench(folder, "data", "clean", "-c", "faults.yaml")
    assert done.code == 0, done.err
    return done.out


def clean_at(undisturbed: Undisturbed, folder: Path, moments_s: list[float], *more: str) -> None:
    """Run the study, clean at these moments after its start, and check the result."""
    print(f"seed {SEED}, cleaned after {moments_s} s")
    process = study.start(folder, "run", "--all", *more)
    started = time.monotonic()
    for moment in sorted(moments_s):
        while process.poll() is None and time.monotonic() < started + moment:
            time.sleep(0.005)
        if process.poll() is None:
            clean(folder)
    assert process.wait(300) == 0, study.output(folder)[-3000:]
    assert "decoding them again" not in study.output(folder)
    assert study.figures(folder) == undisturbed.figures
    study.assert_whole_in_mlflow(folder)
    assert "in use" not in clean(folder)
    assert not list((folder / "mlruns/cache/pixels").iterdir())


def test_cleaning_at_some_moments_takes_nothing_from_a_running_study(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    draw = random.Random(SEED)
    clean_at(undisturbed, tmp_path, [draw.uniform(0, undisturbed.seconds) for _ in range(6)])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_cleaning_at_twenty_moments(number: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Alternately with one run and with two concurrent runs."""
    moment = random.Random(f"{SEED} {number}").uniform(0, 1) * undisturbed.seconds
    more = ("--workers", "2") if number % 2 else ()
    clean_at(undisturbed, tmp_path, [moment / (1.5 if more else 1)], *more)


def test_cleaning_leaves_what_a_process_uses_and_names_it(tmp_path: Path) -> None:
    """This process has prepared the data and uses its images."""
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    data = DataSettings(image_size=32, demo=DemoSettings(images_per_class=10))
    pixels = prepare(data, tmp_path / "mlruns/cache").pixels
    other = tmp_path / "mlruns/cache/pixels/of-another-study"
    other.mkdir()
    result = clean(tmp_path)
    assert "left pixels: 0 MiB, in use by a running command" in result
    assert pixels.is_file()
    assert not other.exists()


def test_preparing_goes_well_while_the_cache_is_cleaned_all_the_time(tmp_path: Path) -> None:
    """Demo images, decoded images of many sizes and small files; all prepared data are readable."""
    over = threading.Event()
    cleanings = 0

    def keep_cleaning() -> None:
        nonlocal cleanings
        while not over.is_set():
            clean_cache(tmp_path)
            cleanings += 1
            time.sleep(0.002)

    cleaner = threading.Thread(target=keep_cleaning)
    cleaner.start()
    result = set()
    try:
        for size in range(8, 32):
            demo = DemoSettings(images_per_class=5)
            data = prepare(DataSettings(image_size=size, demo=demo), tmp_path / "cache")
            result.add(data.summary.fingerprint)
            for name in ("train", "valid", "test"):
                split = data.split(name)
                assert len(split.images(np.arange(len(split)))) == len(split)
            file = tmp_path / "cache" / "costs" / f"{size}.json"
            file.parent.mkdir(exist_ok=True)
            write_text(file, "{}")
    finally:
        over.set()
        cleaner.join()
    assert len(result) == 1
    assert cleanings > 20


@pytest.mark.slow
def test_a_run_whose_cache_is_missing_decodes_its_images_again(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Deleted by hand while the first run trains: the second decodes its images and says so."""
    process = study.start(tmp_path, "run", "--all")
    wait_for(tmp_path, "epoch 1/")
    shutil.rmtree(tmp_path / "mlruns/cache")
    assert process.wait(300) == 0, study.output(tmp_path)[-3000:]
    result = study.output(tmp_path)
    assert result.count("the decoded images are missing or damaged; decoding them again") == 1
    assert study.figures(tmp_path) == undisturbed.figures
