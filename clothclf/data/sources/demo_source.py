"""Built-in demo data set: synthetic drawings in Kaggle's layout, stored in the cache."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from clothclf.data.atomic import new_folder
from clothclf.data.in_use import protect
from clothclf.data.sources.demo_drawing import CATALOGUE, LABELS, draw_product
from clothclf.data.sources.kaggle_source import KaggleSource
from clothclf.settings import DataSettings

DRAWING_VERSION = 1
"""Increase when the drawings change, so that cached images are drawn again."""

_COLUMNS = (
    *("id", "gender", "masterCategory", "subCategory", "articleType", "baseColour"),
    *("season", "year", "usage", "productDisplayName"),
)
_FIRST_ID = 10_000
_JPEG_QUALITY = 75


def open_source(settings: DataSettings, cache: Path) -> KaggleSource:
    """Draw the images unless they are cached; return them as a source."""
    demo = settings.demo
    name = f"v{DRAWING_VERSION}-{demo.images_per_class}-seed{demo.seed}"
    folder = cache / "demo" / name
    if not protect(folder):
        with new_folder(folder) as unfinished:
            write_demo(unfinished, demo.images_per_class, demo.seed)
    title = f"demo: synthetic drawings, {demo.images_per_class} a class"
    return KaggleSource(folder, title=title, synthetic=True)


def write_demo(folder: Path, images_per_class: int, seed: int) -> None:
    """Write `folder`/styles.csv and `folder`/images/<id>.jpg, deterministic for the same arguments.

    An image depends only on the seed, its class and its index within the class, so a larger demo
    contains every image of a smaller one, under other ids.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    members = [(label, index) for label in LABELS for index in range(images_per_class)]
    order = np.random.default_rng(seed).permutation(len(members)).tolist()
    rows = []
    for product, member in enumerate(order, start=_FIRST_ID):
        label, index = members[member]
        source = np.random.SeedSequence(seed, spawn_key=(LABELS.index(label), index))
        image, colour = draw_product(label, np.random.default_rng(source))
        image.save(images / f"{product}.jpg", quality=_JPEG_QUALITY)
        master, sub, usage, *_ = CATALOGUE[label]
        name = f"Synthetic {colour.lower()} {label} {product}"
        rows.append((product, "", master, sub, label, colour, "", "", usage, name))
    # Write the table last: if it exists, all its images do too.
    with (folder / "styles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
