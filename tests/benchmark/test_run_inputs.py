"""What a run trains on: its images, decoded again where the cache has lost or spoilt them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.runs.inputs import open_splits
from benchmark.runs.run_folder import MANIFEST, RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.prepare import prepare
from clothclf.errors import DataError
from clothclf.settings import DataSettings, DemoSettings
from tests.benchmark.examples import make_spec

DATA = DataSettings(image_size=32, demo=DemoSettings(images_per_class=10))


@pytest.fixture
def planned(tmp_path: Path) -> tuple[RunSpec, RunFolder]:
    """A run on drawn images, and its folder."""
    data = prepare(DATA, tmp_path / "cache")
    spec = make_spec(
        data=DATA,
        image_size=32,
        data_summary=data.summary,
        pixels=data.pixels,
        cache=tmp_path / "cache",
    )
    (tmp_path / "run").mkdir()
    data.manifest.to_parquet(tmp_path / "run" / MANIFEST, index=False)
    return spec, RunFolder(tmp_path / "run")


def images(spec: RunSpec, folder: RunFolder, messages: list[str]) -> dict[str, np.ndarray]:
    splits = open_splits(spec, folder, messages.append)
    return {name: split.images(np.arange(len(split))) for name, split in splits.items()}


@pytest.mark.parametrize("fault", ["gone", "two thirds overwritten", "without checksums"])
def test_images_are_decoded_again_and_it_is_reported(
    planned: tuple[RunSpec, RunFolder], fault: str
) -> None:
    """The very same images, in the same order."""
    result: list[str] = []
    before = images(*planned, result)
    assert result == []
    spec, _ = planned
    if fault == "gone":
        shutil.rmtree(spec.cache)
    elif fault == "without checksums":
        spec.pixels.with_suffix(".json").unlink()
    else:
        content = spec.pixels.read_bytes()
        third = len(content) // 3
        spec.pixels.unlink()
        spec.pixels.write_bytes(content[:third] + bytes(len(content) - third))
    after = images(*planned, result)
    assert result == [
        f"{spec.name}: the decoded images are missing or damaged; decoding them again"
    ]
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_other_images_than_planned_are_refused(planned: tuple[RunSpec, RunFolder]) -> None:
    spec, folder = planned
    spec.pixels.unlink()
    other = DATA.model_copy(update={"demo": DemoSettings(images_per_class=11)})
    with pytest.raises(DataError, match="the images have changed since the run was planned"):
        open_splits(spec.model_copy(update={"data": other}), folder, print)
