"""The demo data set is reproducible, complete, and neither trivial nor impossible to learn."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clothclf.data.sources.demo_drawing import LABELS, draw_product
from clothclf.data.sources.demo_source import write_demo

PER_CLASS = 4
KAGGLE_HEADER = (
    "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,"
    "productDisplayName"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder, PER_CLASS, seed=3)
    return folder


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "styles.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def pictures_by_class(folder: Path) -> dict[str, set[bytes]]:
    images: dict[str, set[bytes]] = {label: set() for label in LABELS}
    for row in read_rows(folder):
        images[row["articleType"]].add((folder / f"images/{row['id']}.jpg").read_bytes())
    return images


def draw_all(per_class: int, seed: int) -> NDArray[np.float32]:
    """Draw images of every class: (class, image, height, width, channel), from 0 to 1."""
    images = np.empty((len(LABELS), per_class, 80, 60, 3), dtype=np.float32)
    for number, label in enumerate(LABELS):
        for index in range(per_class):
            rng = np.random.default_rng((seed, number, index))
            images[number, index] = np.asarray(draw_product(label, rng)[0])
    images /= 255
    return images


def test_same_numbers_give_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    """The same arguments give the same bytes of every file."""
    write_demo(tmp_path, PER_CLASS, seed=3)
    assert read_files(tmp_path) == read_files(demo)


def test_another_seed_gives_other_images(demo: Path, tmp_path: Path) -> None:
    """Different seeds share no image."""
    write_demo(tmp_path, PER_CLASS, seed=4)
    others = pictures_by_class(tmp_path)
    assert all(not others[label] & old for label, old in pictures_by_class(demo).items())


def test_larger_demo_holds_the_smaller_one(demo: Path, tmp_path: Path) -> None:
    """An image does not depend on the number or order of other images."""
    write_demo(tmp_path, PER_CLASS - 2, seed=3)
    larger = pictures_by_class(demo)
    assert all(few <= larger[label] for label, few in pictures_by_class(tmp_path).items())


def test_table_has_kaggles_columns_and_line_ends(demo: Path) -> None:
    """The table has Kaggle's header, and Unix line ends on every platform."""
    content = (demo / "styles.csv").read_bytes()
    assert content.decode("utf-8").splitlines()[0] == KAGGLE_HEADER
    assert b"\r" not in content


def test_every_class_has_its_share_under_shuffled_unique_ids(demo: Path) -> None:
    """Ids count up from 10000 and say nothing about the class."""
    rows = read_rows(demo)
    labels = [row["articleType"] for row in rows]
    assert [int(row["id"]) for row in rows] == list(range(10_000, 10_000 + len(rows)))
    assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, PER_CLASS)
    assert labels != sorted(labels, key=LABELS.index)


def test_rows_describe_their_product(demo: Path) -> None:
    """Every row names its categories, and its title names the colour, the class and the id."""
    for row in read_rows(demo):
        assert row["masterCategory"] in ("Apparel", "Footwear", "Accessories")
        assert row["subCategory"]
        assert row["usage"]
        words = f"{row['baseColour'].lower()} {row['articleType']} {row['id']}"
        assert row["productDisplayName"] == f"Synthetic {words}"


def test_files_are_small_jpegs_and_match_the_table(demo: Path) -> None:
    """Each row has one 60 x 80 RGB JPEG, and there are no other images."""
    ids = {row["id"] for row in read_rows(demo)}
    assert {path.stem for path in (demo / "images").iterdir()} == ids
    for path in (demo / "images").iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (60, 80))


@pytest.mark.parametrize("label", LABELS)
def test_product_stands_on_white_ground(label: str) -> None:
    """The corners are nearly white, and something is drawn between them."""
    for seed in range(5):
        pixels = np.asarray(draw_product(label, np.random.default_rng(seed))[0])
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert pixels.shape == (80, 60, 3)
        assert corners.min() > 220
        assert (pixels.min(axis=2) < 220).mean() > 0.02


def test_mean_images_of_classes_differ() -> None:
    """No two classes have the same drawings."""
    means = draw_all(per_class=25, seed=0).mean(axis=1).reshape(len(LABELS), -1)
    distances = np.abs(means[:, None] - means[None]).mean(axis=2)
    assert distances[~np.eye(len(LABELS), dtype=bool)].min() > 0.015


def test_task_is_neither_hopeless_nor_trivial() -> None:
    """Nearest-class-mean accuracy on pixels is far above chance (1 in 11) and far from perfect."""
    means = draw_all(per_class=40, seed=0).mean(axis=1).reshape(len(LABELS), -1)
    fresh = draw_all(per_class=20, seed=1).reshape(len(LABELS), 20, 1, -1)
    nearest = ((fresh - means) ** 2).sum(axis=3).argmin(axis=2)
    accuracy = (nearest == np.arange(len(LABELS))[:, None]).mean()
    assert 0.35 < accuracy < 0.97
