"""From settings to a data set: list, decode once, filter classes, split; every loss is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from clothclf.data.dataset import (
    DataSet,
    count_findings,
    fingerprint,
    twin_statistics,
)
from clothclf.data.pixels import PixelCache, Progress, open_or_build
from clothclf.data.sources import Chosen, Finding, Source, list_wanted, open_source
from clothclf.data.splits import SPLITS, assign_splits
from clothclf.data.thin import thinned
from clothclf.errors import DataError
from clothclf.results import DataSummary
from clothclf.settings import DataSettings

UNREADABLE = "image does not decode"
CONVERTED = "image converted to RGB"
ODD_SIZE = "image of another size, resized"
SMALL_CLASS = "class below min_images_per_class"
SURPLUS_CLASS = "class beyond max_classes"
SURPLUS_IMAGE = "image beyond max_images"


def prepare(settings: DataSettings, cache: Path, progress: Progress | None = None) -> DataSet:
    """Prepare the data set that the settings describe.

    `cache` holds the demo's drawings and the decoded pixels; what is there already is used again.
    Raises DataError: nothing to read, a missing column, fewer than 2 classes, a class too small.
    """
    source = open_source(settings, cache)
    listing = list_wanted(source, settings)
    findings = list(listing.findings)
    # A class with too few rows cannot pass; there is no need to decode its pictures.
    _require_rows(listing, source)
    rows = _large_classes(listing.rows, settings.min_images_per_class, findings)
    _require_two_classes(rows, listing.rows, settings)
    pixels = open_or_build(source, rows["id"].tolist(), settings.image_size, cache, progress)
    rows = rows.assign(
        pixel_row=np.arange(len(rows)), pixel_hash=pixels.table["pixel_hash"].to_numpy()
    )
    rows = _decodable(rows, pixels, findings)
    usable = rows
    rows = _large_classes(rows, settings.min_images_per_class, findings)
    rows = _largest_classes(rows, settings.max_classes, findings)
    _require_two_classes(rows, usable, settings)
    rows = _sample(rows, settings, findings)
    groups = rows["pixel_hash"] if settings.split.keep_twins_together else rows["id"]
    manifest = rows.assign(split=assign_splits(rows["label"], groups, settings.split))
    manifest = manifest[["id", "label", "split", "pixel_hash", "pixel_row"]].reset_index(drop=True)
    manifest = thinned(manifest, settings, findings)
    table = pd.DataFrame(
        [(f.action, f.reason, f.image_id, f.detail) for f in findings],
        columns=["action", "reason", "image_id", "detail"],
    )
    summary = _summarise(source, listing.rows_read, manifest, table)
    return DataSet(manifest, table, summary, pixels.path)


def _large_classes(rows: pd.DataFrame, least: int, findings: list[Finding]) -> pd.DataFrame:
    size = rows.groupby("label")["id"].transform("size")
    return _leave_out(rows, size < least, SMALL_CLASS, findings)


def _largest_classes(rows: pd.DataFrame, most: int | None, findings: list[Finding]) -> pd.DataFrame:
    if most is None:
        return rows
    sizes = rows.groupby("label").size().reset_index(name="size")
    kept = sizes.sort_values(["size", "label"], ascending=[False, True])["label"].head(most)
    return _leave_out(rows, ~rows["label"].isin(kept.tolist()), SURPLUS_CLASS, findings)


def _leave_out(
    rows: pd.DataFrame, bad: pd.Series[bool], reason: str, findings: list[Finding]
) -> pd.DataFrame:
    left_out = rows.loc[bad, ["id", "label"]].itertuples(index=False, name=None)
    findings.extend(Finding("dropped", reason, str(name), str(label)) for name, label in left_out)
    kept: pd.DataFrame = rows[~bad]
    return kept


def _decodable(rows: pd.DataFrame, pixels: PixelCache, findings: list[Finding]) -> pd.DataFrame:
    """Drop pictures that do not decode; note those that were converted or resized unevenly."""
    table = pixels.table
    bad = table["problem"] != ""
    findings.extend(
        Finding("dropped", UNREADABLE, str(picture.id), str(picture.problem))
        for picture in table[bad].itertuples()
    )
    good = table[~bad]
    findings.extend(
        Finding("repaired", CONVERTED, str(picture.id), str(picture.stored_mode))
        for picture in good[good["stored_mode"] != "RGB"].itertuples()
    )
    sizes = good["width"].astype(str) + "x" + good["height"].astype(str)
    if len(sizes):
        odd = sizes != sizes.mode().iloc[0]
        findings.extend(
            Finding("repaired", ODD_SIZE, str(name), str(size))
            for name, size in zip(good.loc[odd, "id"], sizes[odd], strict=True)
        )
    kept: pd.DataFrame = rows[~bad.to_numpy()]
    return kept


def _require_rows(listing: Chosen, source: Source) -> None:
    if len(listing.rows):
        return
    faults = Counter(finding.reason for finding in listing.findings if finding.action == "dropped")
    reasons = ", ".join(f"{reason} {count}" for reason, count in faults.most_common(3))
    raise DataError(
        f"data.path: {source.title}: none of its {listing.rows_read} rows has an id, a label and "
        f"a picture{f' ({reasons})' if reasons else ''}"
    )


def _require_two_classes(rows: pd.DataFrame, before: pd.DataFrame, settings: DataSettings) -> None:
    found = rows["label"].nunique()
    if found >= 2:
        return
    largest = before["label"].value_counts().head(3)
    sizes = ", ".join(f"{label} {count}" for label, count in largest.items()) or "none"
    raise DataError(
        f"data.min_images_per_class: {settings.min_images_per_class} leaves {found} of "
        f"{before['label'].nunique()} classes of {settings.label!r}, and 2 are needed; "
        f"the largest are {sizes}"
    )


def _sample(rows: pd.DataFrame, settings: DataSettings, findings: list[Finding]) -> pd.DataFrame:
    """Keep `max_images` pictures, each class in proportion, the same ones for the same seed.

    Raises DataError where a class would be left without any.
    """
    if settings.max_images is None or len(rows) <= settings.max_images:
        return rows
    order = np.random.default_rng(settings.split.seed).permutation(len(rows))
    shuffled = rows.sort_values("id").iloc[order]
    # Ranking pictures by their relative place within their class takes all classes evenly.
    place = shuffled.groupby("label").cumcount() + 0.5
    place = place / shuffled.groupby("label")["id"].transform("size")
    kept = place.sort_values(kind="stable").index[: settings.max_images]
    surplus = pd.Series(~rows.index.isin(kept), index=rows.index)
    lost = sorted(set(rows["label"]) - set(rows.loc[~surplus, "label"]))
    if lost:
        raise DataError(
            f"data.max_images: {settings.max_images} leaves no picture of class {lost[0]!r}; "
            "raise it, or data.min_images_per_class"
        )
    return _leave_out(rows, surplus, SURPLUS_IMAGE, findings)


def _summarise(
    source: Source, rows_read: int, manifest: pd.DataFrame, findings: pd.DataFrame
) -> DataSummary:
    per_class = manifest["label"].value_counts()
    per_split = manifest["split"].value_counts()
    return DataSummary(
        title=source.title,
        synthetic=source.synthetic,
        fingerprint=fingerprint(manifest),
        classes=tuple(sorted(manifest["label"].unique())),
        images={name: int(per_split.get(name, 0)) for name in SPLITS},
        images_per_class={str(label): int(count) for label, count in per_class.items()},
        rows_read=rows_read,
        dropped=count_findings(findings, "dropped"),
        repaired=count_findings(findings, "repaired"),
        **twin_statistics(manifest),
    )
