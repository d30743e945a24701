"""Packs of many studies as runs leave them: drawn images, answers and costs, nothing decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.sharing.pack import pack
from clothclf.data.dataset import DataSet, duplicate_statistics, fingerprint
from clothclf.results import DataSummary
from clothclf.settings import DataSettings, ModelSettings
from tests.benchmark.drawn_study import write_run
from tests.benchmark.examples import make_measured, make_record, make_spec

ARCHITECTURES = {
    "mobilenetv3_small_100": (0.06e9, 1.9),
    "mobilenetv3_large_100": (0.23e9, 2.1),
    "efficientnet_b0": (0.40e9, 2.2),
    "regnety_008": (0.81e9, 2.2),
    "vit_tiny_patch16_224": (1.08e9, 2.0),
    "resnet18": (1.82e9, 2.05),
    "resnet50": (4.11e9, 2.2),
    "convnext_tiny": (4.45e9, 2.4),
    "vgg16": (15.5e9, 1.9),
}
"""MACs and skill by architecture."""
DATA_SETS = ("fashion products", "leaves", "traffic signs", "satellite fields", "bird calls")
PROCESSORS = ("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", "AMD EPYC 7763", "Apple M2")


def draw_data(title: str, classes: int, test_images: int, seed: int) -> DataSet:
    """A data set without pixels; its classes are named after letters."""
    names = tuple(f"class {chr(97 + number)}" for number in range(classes))
    sizes = {"train": 3 * test_images, "valid": test_images // 2, "test": test_images}
    splits = [split for split, count in sizes.items() for _ in range(count)]
    count = len(splits)
    labels = np.random.default_rng(seed).permutation(np.arange(count) % classes)
    manifest = pd.DataFrame(
        {
            "id": [f"{seed}-{number:05d}" for number in range(count)],
            "label": [names[label] for label in labels],
            "split": splits,
            "pixel_hash": [
                hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in range(count)
            ],
            "pixel_row": np.arange(count),
        }
    )
    per_class = manifest["label"].value_counts()
    summary = DataSummary(
        title=title,
        synthetic=False,
        fingerprint=fingerprint(manifest),
        classes=names,
        images=sizes,
        images_per_class={str(label): int(number) for label, number in per_class.items()},
        rows_read=count,
        dropped={},
        repaired={},
        **duplicate_statistics(manifest),
    )
    return DataSet(manifest, pd.DataFrame(), summary, Path("pixels.npy"))


def draw_study(
    root: Path,
    number: int,
    data: DataSet,
    names: Sequence[str],
    seeds: Sequence[int] = (0,),
    study: str = "",
) -> None:
    """Write finished runs below the tracking folder `root`; `number` decides what is drawn."""
    mode = "finetune" if number % 3 else "frozen"
    side = (64, 112, 224)[number % 3]
    processor = PROCESSORS[number % len(PROCESSORS)]
    for name in names:
        macs, skill = ARCHITECTURES[name]
        macs = round(macs * (side / 224) ** 2)
        for seed in seeds:
            spec = make_spec(
                name,
                seed,
                study=study or f"study-{number:03d}",
                data=DataSettings(image_size=side, source="folder", path=Path("data")),
                data_summary=data.summary,
                image_size=side,
                model=ModelSettings(mode=mode),
            )
            record = make_record(spec, 0.5, macs, make_measured(0.8 + 4e-9 * macs))
            environment = record.environment.model_copy(update={"processor": processor})
            record = record.model_copy(update={"environment": environment})
            drawn = 1000 * number + 10 * list(ARCHITECTURES).index(name) + seed
            write_run(root, record, data, skill - 0.02 * (number % 7), drawn, epochs=12)


def draw_packs(folder: Path, count: int, test_images: int = 200) -> list[Path]:
    """Write packs of `count` studies, three architectures each; the packs differ in data."""
    names, paths = list(ARCHITECTURES), []
    for number in range(count):
        generator = np.random.default_rng(number)
        chosen = sorted(generator.choice(len(names), 3, replace=False))
        title = f"{DATA_SETS[number % len(DATA_SETS)]}, {number // len(DATA_SETS) + 1}"
        data = draw_data(title, 4 + number % 9, test_images + 10 * (number % 20), number)
        root = folder / "stores" / str(number)
        draw_study(root, number, data, [names[place] for place in chosen])
        paths.append(folder / f"study-{number:03d}.bench")
        pack(root, f"study-{number:03d}", paths[-1])
    return paths
