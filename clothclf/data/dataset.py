"""A prepared data set: the manifest of its images, their pixels, what was found on the way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.checked import CheckedImages, Images, Rebuild
from clothclf.data.splits import SPLITS
from clothclf.errors import DataError
from clothclf.results import DataSummary

MANIFEST_COLUMNS = ("id", "label", "split", "pixel_hash", "pixel_row")


@dataclass(frozen=True)
class DataSet:
    """Images with labels and splits.

    `manifest` has a row for each image: id, label, split, pixel_hash, pixel_row (its row in the
    pixel array). `findings` has a row for all that was repaired or dropped: action, reason, id,
    detail.
    """

    manifest: pd.DataFrame
    findings: pd.DataFrame
    summary: DataSummary
    pixels: Path
    """File of the uint8 array [images, size, size, 3]."""
    stored_side: int = 0
    """Median length of the images' shorter side as they are stored, in pixels."""

    def split(self, name: str) -> SplitImages:
        """The images of one split, in manifest order; `name` is train, valid or test."""
        return SplitImages.open(self.manifest, self.summary.classes, self.pixels, name)


@dataclass(frozen=True)
class SplitImages:
    """One split, ready to index: ids, class numbers int64 [n], and the shared pixel array."""

    ids: list[str]
    targets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    pixels: Images
    content: str = ""
    """Hash over the images' pixels, in order, at their size."""

    @classmethod
    def open(
        cls,
        manifest: pd.DataFrame,
        classes: tuple[str, ...],
        pixels: Path | Images,
        name: str,
    ) -> SplitImages:
        """Open one split of a manifest; `pixels` is the file of the array, or the array opened.

        Splits of one data set should share it: each mapping counts its pages anew as memory.
        Raises DataError where the split is unknown or the pixels are gone or cut short.
        """
        if name not in SPLITS:
            raise DataError(f"no split {name!r}: it is one of {', '.join(SPLITS)}")
        part = manifest[manifest["split"] == name]
        numbers = {label: number for number, label in enumerate(classes)}
        array = open_pixels(pixels) if isinstance(pixels, Path) else pixels
        return cls(
            ids=part["id"].astype(str).tolist(),
            # Copies: torch takes no read-only arrays, and pandas hands out nothing else.
            targets=part["label"].map(numbers).to_numpy(dtype=np.int64, copy=True),
            rows=part["pixel_row"].to_numpy(dtype=np.int64, copy=True),
            pixels=array,
            content=_content(part, array.shape[1]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Copy images out of the array: uint8 [len(positions), size, size, 3]."""
        images: npt.NDArray[np.uint8] = self.pixels[self.rows[positions]]
        return images


def open_pixels(file: Path, rebuild: Rebuild | None = None) -> CheckedImages:
    """Map the array of decoded images; they stay on disk until they are read, and are checked.

    Where the file is gone or damaged, `rebuild` writes it again; without, raises DataError.
    """
    return CheckedImages(file, rebuild)


def _content(part: pd.DataFrame, size: int) -> str:
    text = "\n".join([str(size), *part["pixel_hash"].astype(str)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(manifest: pd.DataFrame) -> str:
    """Hash over id, pixels, label and split of every image, whatever the row order."""
    columns = manifest[["id", "pixel_hash", "label", "split"]].astype(str)
    lines = sorted("\t".join(row) for row in columns.itertuples(index=False, name=None))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def duplicate_statistics(manifest: pd.DataFrame) -> dict[str, int]:
    """Count twins (same pixels): groups, images, label conflicts, groups split apart."""
    groups = manifest.groupby("pixel_hash").agg(
        size=("id", "size"), labels=("label", "nunique"), splits=("split", "nunique")
    )
    exact_duplicates = groups[groups["size"] > 1]
    return {
        "twin_groups": len(exact_duplicates),
        "twin_images": int(exact_duplicates["size"].sum()),
        "label_conflicts": int((exact_duplicates["labels"] > 1).sum()),
        "twins_across_splits": int((exact_duplicates["splits"] > 1).sum()),
    }


def count_findings(findings: pd.DataFrame, action: str) -> dict[str, int]:
    """Findings of one action counted by reason, most frequent first."""
    counts: Any = findings.loc[findings["action"] == action, "reason"].value_counts()
    return {str(reason): int(count) for reason, count in counts.items()}
