"""The pixel cache is exact, built once, and never used when damaged."""

from __future__ import annotations

import io
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clothclf.data import checked
from clothclf.data.dataset import open_pixels
from clothclf.data.pixels import AHEAD, DECODED_AGAIN, PixelCache, open_or_build
from clothclf.data.sources.kaggle_source import KaggleSource
from clothclf.errors import DataError
from tests.conftest import KaggleBuilder, draw_jpeg

IDS = [str(number) for number in range(1, 41)]


class CountingSource(KaggleSource):
    """Real source that counts how often each image is read."""

    reads = 0

    def read_bytes(self, image_id: str) -> bytes:
        self.reads += 1
        return super().read_bytes(image_id)


@pytest.fixture
def images() -> dict[str, bytes]:
    """Images of several sizes; the third does not decode."""
    created = {name: draw_jpeg(int(name), 10 + int(name) % 5, 20) for name in IDS}
    created["3"] = b"no image"
    return created


@pytest.fixture
def source(kaggle: KaggleBuilder, images: dict[str, bytes]) -> CountingSource:
    return CountingSource(kaggle.folder("id,articleType\n", images))


def test_pixels_are_those_of_a_bilinear_resize(
    source: CountingSource, images: dict[str, bytes], tmp_path: Path
) -> None:
    """Bit-identical to Pillow's result; the table describes each image."""
    cache = open_or_build(source, IDS, 24, tmp_path / "cache")
    assert cache.array.shape == (len(IDS), 24, 24, 3)
    for row, name in enumerate(IDS):
        if name == "3":
            continue
        image = Image.open(io.BytesIO(images[name]))
        expected = np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR))
        assert np.array_equal(cache.array[row], expected)
        assert (cache.table.loc[row, "width"], cache.table.loc[row, "height"]) == image.size
    assert cache.table["id"].tolist() == IDS
    assert cache.table.loc[2, "pixel_hash"] == ""
    assert cache.table.loc[2, "problem"] != ""
    assert (cache.table["problem"] != "").sum() == 1


def test_equal_pixels_have_equal_hashes_whatever_the_file(
    kaggle: KaggleBuilder, tmp_path: Path
) -> None:
    """Exact duplicates have equal pixels, not bytes; equal bytes in another shape are different."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 3), dtype=np.uint8)

    def png(image: np.ndarray, level: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", compress_level=level)
        return file.getvalue()

    images = {"a": png(pixels, 1), "b": png(pixels, 9), "c": png(pixels.reshape(8, 4, 3), 1)}
    assert images["a"] != images["b"]
    created = KaggleSource(kaggle.folder("id,articleType\n", images))
    hashes = open_or_build(created, ["a", "b", "c"], 8, tmp_path / "cache").table["pixel_hash"]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_a_second_opening_decodes_nothing(source: CountingSource, tmp_path: Path) -> None:
    first = open_or_build(source, IDS, 24, tmp_path / "cache")
    assert source.reads == len(IDS)
    second = open_or_build(source, IDS, 24, tmp_path / "cache")
    assert source.reads == len(IDS)
    assert np.array_equal(first.array, second.array)
    assert first.table.equals(second.table)


def test_other_sizes_ids_and_files_are_other_caches(
    source: CountingSource, images: dict[str, bytes], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = open_or_build(source, IDS, 24, cache)
    assert open_or_build(source, IDS, 16, cache).array.shape[1] == 16
    assert open_or_build(source, IDS[::-1], 24, cache).table["id"].tolist() == IDS[::-1]
    (source.path / "images/5.jpg").write_bytes(images["6"])
    changed = open_or_build(source, IDS, 24, cache)
    assert np.array_equal(changed.array[4], first.array[5])
    assert not np.array_equal(changed.array[4], first.array[4])


def test_progress_ends_with_all_images(source: CountingSource, tmp_path: Path) -> None:
    result: list[tuple[int, int]] = []
    open_or_build(source, IDS, 24, tmp_path / "cache", lambda done, of: result.append((done, of)))
    assert result[-1] == (len(IDS), len(IDS))


def test_few_images_are_decoded_ahead(kaggle: KaggleBuilder, tmp_path: Path) -> None:
    """Submitting a million files at once would take gigabytes before the first is decoded."""
    ids = [str(number) for number in range(3000)]
    source = CountingSource(kaggle.folder("id,articleType\n", dict.fromkeys(ids, b"no image")))
    ahead: list[int] = []

    def notify(done: int, total: int) -> None:
        time.sleep(0.2)  # time for threads to run ahead
        ahead.append(source.reads - done)

    open_or_build(source, ids, 8, tmp_path / "cache", notify)
    assert max(ahead) <= AHEAD


def test_an_interrupted_build_leaves_nothing_behind(source: CountingSource, tmp_path: Path) -> None:
    """After Ctrl-C no folder passes for complete, and the next call builds it."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        open_or_build(source, IDS, 24, cache, interrupt)
    assert list((cache / "pixels").iterdir()) == []
    source.reads = 0
    assert len(open_or_build(source, IDS, 24, cache).table) == len(IDS)
    assert source.reads == len(IDS)


def damage(folder: Path, kind: str) -> None:
    name, _, how = kind.partition(" ")
    file = folder / name
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "zeroed":
        file.write_bytes(content[:200] + bytes(len(content) - 200))
    elif how == "list":
        file.write_text(json.dumps(["no", "object"]))
    else:
        file.write_bytes(os.urandom(len(content)))


@pytest.mark.parametrize(
    "kind",
    [
        *(f"cache.json {how}" for how in ("missing", "empty", "truncated", "noise", "list")),
        *(f"images.parquet {how}" for how in ("missing", "empty", "truncated", "noise")),
        *(f"pixels.npy {how}" for how in ("missing", "empty", "truncated", "noise", "zeroed")),
    ],
)
def test_a_damaged_cache_is_noticed_and_built_again(
    source: CountingSource, tmp_path: Path, kind: str
) -> None:
    cache = tmp_path / "cache"
    whole = open_or_build(source, IDS, 24, cache)
    pixels, folder = np.array(whole.array), whole.path.parent
    del whole
    damage(folder, kind)
    with pytest.raises(DataError) as caught:
        PixelCache(folder)
    assert str(folder) in str(caught.value)
    source.reads = 0
    assert np.array_equal(open_or_build(source, IDS, 24, cache).array, pixels)
    assert source.reads == len(IDS)
    assert [path.name for path in (cache / "pixels").iterdir()] == [folder.name]


def test_a_cache_with_the_former_names_is_reused(source: CountingSource, tmp_path: Path) -> None:
    folder = open_or_build(source, IDS, 24, tmp_path).path.parent
    (folder / "images.parquet").rename(folder / "pictures.parquet")
    meta = folder / "cache.json"
    meta.write_text(meta.read_text().replace('"images"', '"pictures"'))
    source.reads = 0
    assert open_or_build(source, IDS, 24, tmp_path).table["id"].tolist() == IDS
    assert source.reads == 0


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of three images."""
    monkeypatch.setattr(checked, "BLOCK_BYTES", 3 * 24 * 24 * 3)


def overwrite(file: Path, row: int) -> None:
    """Change an image on disk, like a failing disk."""
    array = np.load(file, mmap_mode="r+")
    array[row] = 255 - array[row]
    array.flush()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("row", [0, 1, 80, 81, 157, 159])
def test_a_damaged_block_is_never_read_and_decoded_again(
    kaggle: KaggleBuilder, tmp_path: Path, row: int
) -> None:
    """For any block, on opening the cache or on reading its images."""
    ids = [str(number) for number in range(160)]
    images = {name: draw_jpeg(int(name)) for name in ids}
    source = CountingSource(kaggle.folder("id,articleType\n", images))
    cache = tmp_path / "cache"
    whole = open_or_build(source, ids, 24, cache)
    pixels = np.array(whole.array)
    overwrite(whole.path, row)
    source.reads = 0
    again = open_or_build(source, ids, 24, cache).array
    some = np.arange(row - 2, row + 1)
    assert np.array_equal(again[some], pixels[some])
    assert source.reads == len(ids)
    assert np.array_equal(again, pixels)
    assert np.array_equal(open_or_build(source, ids, 24, cache).array, pixels)
    assert source.reads == len(ids)


@pytest.mark.usefixtures("small_blocks")
def test_no_flipped_bit_is_ever_read(source: CountingSource, tmp_path: Path) -> None:
    """200 bits anywhere in the file, every second one in its header."""
    file = open_or_build(source, IDS, 24, tmp_path / "cache").path
    whole, checksums = file.read_bytes(), checked.checksum_file(file).read_bytes()
    pixels, draw = np.load(file), random.Random(0)
    for number in range(200):
        content = bytearray(whole)
        content[draw.randrange(128 if number % 2 else len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        checked.checksum_file(file).write_bytes(checksums)
        try:
            result = np.asarray(open_pixels(file))
        except DataError:
            continue
        assert np.array_equal(result, pixels)


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_block_is_an_error_where_nothing_can_decode(
    source: CountingSource, tmp_path: Path
) -> None:
    """One image in a block that is not verified when the file is opened."""
    file = open_or_build(source, IDS, 24, tmp_path / "cache").path
    overwrite(file, 4)
    array = open_pixels(file)
    assert array[np.array([0, 8])].shape == (2, 24, 24, 3)
    with pytest.raises(DataError, match="are damaged; `bench data stats` decodes them again"):
        array[5]
    with pytest.raises(DataError, match="cannot be opened"):
        open_pixels(file)


def test_a_cache_without_checksums_is_built_again_in_one_sentence(
    source: CountingSource, tmp_path: Path
) -> None:
    """As written by earlier versions."""
    result: list[str] = []
    whole = open_or_build(source, IDS, 24, tmp_path / "cache", note=result.append)
    assert result == []
    pixels = np.array(whole.array)
    whole.path.with_suffix(".json").unlink()
    again = open_or_build(source, IDS, 24, tmp_path / "cache", note=result.append)
    assert np.array_equal(again.array, pixels)
    assert result == [DECODED_AGAIN]


def test_a_place_that_cannot_hold_the_cache_is_one_sentence(
    source: CountingSource, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DataError, match="cannot be written there: Not a directory"):
        open_or_build(source, IDS, 24, tmp_path / "cache")
