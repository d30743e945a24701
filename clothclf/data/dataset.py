"""Prepared data set: manifest, decoded pixels and findings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.checked import CheckedImages, Images, Rebuild
from clothclf.data.groups import GROUP
from clothclf.data.splits import SPLITS
from clothclf.errors import DataError
from clothclf.results import DataSummary

MANIFEST_COLUMNS = ("id", "label", "split", "pixel_hash", "pixel_row")


@dataclass(frozen=True)
class DataSet:
    """Images with labels and splits.

    `manifest` has one row per image: id, label, split, pixel_hash, pixel_row (row in the pixel
    array), and those of `groups.GROUP_COLUMNS` that the settings ask for. `findings` has one row
    per repaired or dropped item: action, reason, image_id, detail.
    """

    manifest: pd.DataFrame
    findings: pd.DataFrame
    summary: DataSummary
    pixels: Path
    """Path of the array uint8 [images, size, size, 3]."""
    stored_side: int = 0
    """Median shorter side of the stored images, in pixels."""

    def split(self, name: str) -> SplitImages:
        """Return the images of one split, in manifest order; `name` is train, valid or test."""
        return SplitImages.open(self.manifest, self.summary.classes, self.pixels, name)


@dataclass(frozen=True)
class SplitImages:
    """One split: ids, class indices int64 [n], and the shared pixel array with rows int64 [n]."""

    ids: list[str]
    targets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    pixels: Images
    content: str = ""
    """Hash of the images' pixels, in order, and of their size."""

    @classmethod
    def open(
        cls,
        manifest: pd.DataFrame,
        classes: tuple[str, ...],
        pixels: Path | Images,
        name: str,
    ) -> SplitImages:
        """Open one split of a manifest; `pixels` is the path of the array, or the opened array.

        Splits of one data set should share the array: each mapping counts its pages as memory.
        Raises DataError if the split is unknown or the pixels are missing or truncated.
        """
        if name not in SPLITS:
            raise DataError(f"no split {name!r}: it is one of {', '.join(SPLITS)}")
        part = manifest[manifest["split"] == name]
        numbers = {label: number for number, label in enumerate(classes)}
        array = open_pixels(pixels) if isinstance(pixels, Path) else pixels
        return cls(
            ids=part["id"].astype(str).tolist(),
            # Copies, because pandas returns read-only arrays, which torch does not accept.
            targets=part["label"].map(numbers).to_numpy(dtype=np.int64, copy=True),
            rows=part["pixel_row"].to_numpy(dtype=np.int64, copy=True),
            pixels=array,
            content=_content(part, array.shape[1]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Copy images from the array: uint8 [len(positions), size, size, 3]."""
        images: npt.NDArray[np.uint8] = self.pixels[self.rows[positions]]
        return images


def open_pixels(file: Path, rebuild: Rebuild | None = None) -> CheckedImages:
    """Memory-map the array of decoded images, which is verified as it is read.

    If the file is missing or damaged, `rebuild` writes it again; raises DataError without it.
    """
    return CheckedImages(file, rebuild)


def _content(part: pd.DataFrame, size: int) -> str:
    text = "\n".join([str(size), *part["pixel_hash"].astype(str)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(manifest: pd.DataFrame) -> str:
    """Hash the id, pixels, label, split and group of every image, independent of row order."""
    group = [GROUP] if GROUP in manifest else []
    names = ["id", "pixel_hash", "label", "split", *group]
    columns = [manifest[name].astype(str).to_numpy(dtype=object) for name in names]
    lines = sorted(map("\t".join, zip(*columns, strict=True)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


DUPLICATE_COUNTS = (
    "exact_duplicate_groups",
    "exact_duplicate_images",
    "label_conflicts",
    "exact_duplicates_across_splits",
)
"""Fields of `DataSummary` that `duplicate_statistics` computes."""


def duplicate_statistics(manifest: pd.DataFrame) -> dict[str, int]:
    """Count exact duplicates: groups, images, label conflicts, and groups across splits."""
    # Of all images, only these are grouped, which takes long.
    repeated = manifest[manifest["pixel_hash"].duplicated(keep=False)]
    if repeated.empty:
        return dict.fromkeys(DUPLICATE_COUNTS, 0)
    exact_duplicates = repeated.groupby("pixel_hash").agg(
        size=("id", "size"), labels=("label", "nunique"), splits=("split", "nunique")
    )
    return {
        "exact_duplicate_groups": len(exact_duplicates),
        "exact_duplicate_images": int(exact_duplicates["size"].sum()),
        "label_conflicts": int((exact_duplicates["labels"] > 1).sum()),
        "exact_duplicates_across_splits": int((exact_duplicates["splits"] > 1).sum()),
    }


def group_statistics(manifest: pd.DataFrame) -> dict[str, int]:
    """Count the groups of `data.split.group`, and those with images in several splits."""
    if GROUP not in manifest:
        return {}
    splits = manifest.groupby(GROUP)["split"].nunique()
    return {"groups": len(splits), "groups_across_splits": int((splits > 1).sum())}


def count_findings(findings: pd.DataFrame, action: str) -> dict[str, int]:
    """Count the findings of one action by reason, most frequent first."""
    counts: Any = findings.loc[findings["action"] == action, "reason"].value_counts()
    return {str(reason): int(count) for reason, count in counts.items()}
