"""From settings to a data set: list, decode once, filter classes, split; every loss is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.audit.duplicates import LOOKED_AT, near_duplicate_groups
from clothclf.data.dataset import (
    MANIFEST_COLUMNS,
    DataSet,
    count_findings,
    fingerprint,
    twin_statistics,
)
from clothclf.data.decode import HEIC
from clothclf.data.exclude import without_excluded
from clothclf.data.pixels import PixelCache, Progress, open_or_build
from clothclf.data.sources import Chosen, Finding, Source, list_wanted, open_source
from clothclf.data.splits import SPLITS, assign_splits, drawn_splits
from clothclf.data.thin import thinned
from clothclf.errors import DataError
from clothclf.results import DataSummary
from clothclf.settings import DataSettings
from clothclf.settings.data import SplitSettings

UNREADABLE = "image does not decode"
CONVERTED = "image converted to RGB"
ODD_SIZE = "image of another size, resized"
SMALL_CLASS = "class below min_images_per_class"
SURPLUS_CLASS = "class beyond max_classes"
SURPLUS_OF_CLASS = "image beyond max_images_per_class"
SURPLUS_IMAGE = "image beyond max_images"

MAX_CLASSES = 1000
"""As many as ImageNet has; a confusion matrix of ten times as many has a hundred million fields."""


def prepare(settings: DataSettings, cache: Path, progress: Progress | None = None) -> DataSet:
    """Prepare the data set that the settings describe.

    `cache` holds the demo's drawings and the decoded pixels; what is there already is used again.
    Raises DataError: nothing to read, a missing column, fewer than 2 classes, a class too small.
    """
    source = open_source(settings, cache)
    chosen = list_wanted(source, settings)
    findings = list(chosen.findings)
    rows = _before_decoding(chosen, source, settings, findings)
    pixels = open_or_build(source, rows["id"].tolist(), settings.shown_size, cache, progress)
    rows = rows.assign(
        pixel_row=np.arange(len(rows)), pixel_hash=pixels.table["pixel_hash"].to_numpy()
    )
    rows = _decodable(rows, pixels, source, findings)
    usable = rows
    # Of a sample, each class has fewer pictures than it was chosen for.
    least = 1 if settings.max_images_per_class else settings.min_images_per_class
    rows = _large_classes(rows, least, findings)
    rows = _largest_classes(rows, settings.max_classes, findings)
    _require_two_classes(rows, usable, source, settings)
    if settings.exclude is not None:
        rows = without_excluded(rows, settings.exclude, source.title, findings)
    rows = _sample(rows, settings, findings)

    def look() -> npt.NDArray[np.uint8]:
        # At one size, so that the split is the same whatever size a study learns from.
        return open_or_build(source, pixels.table["id"].tolist(), LOOKED_AT, cache, progress).array

    groups = _groups(rows, settings.split, look, cache)
    splits = assign_splits(rows["label"], groups, settings.split, rows["split"])
    manifest = rows.assign(split=splits)[list(MANIFEST_COLUMNS)].reset_index(drop=True)
    manifest = thinned(manifest, settings, findings)
    table = pd.DataFrame(
        [(f.action, f.reason, f.image_id, f.detail) for f in findings],
        columns=["action", "reason", "image_id", "detail"],
    )
    summary = DataSummary(
        title=source.title,
        synthetic=source.synthetic,
        rows_read=chosen.rows_read,
        split_note=_split_note(rows["split"].tolist()),
        dropped=count_findings(table, "dropped"),
        repaired=count_findings(table, "repaired"),
        **_counts(manifest),
    )
    return DataSet(manifest, table, summary, pixels.path)


def _before_decoding(
    chosen: Chosen, source: Source, settings: DataSettings, findings: list[Finding]
) -> pd.DataFrame:
    """The rows whose pictures are worth decoding; raises DataError where no study can be made."""
    _require_rows(chosen, source)
    # A class with too few rows cannot pass; there is no need to decode its pictures.
    rows = _large_classes(chosen.rows, settings.min_images_per_class, findings)
    _require_two_classes(rows, chosen.rows, source, settings)
    _refuse_too_many_classes(rows, source, settings)
    if settings.max_images_per_class is None:
        return rows
    rows = _largest_classes(rows, settings.max_classes, findings)
    place = _places(rows, settings.split.seed).sort_values(kind="stable")
    kept = rows.loc[place.index].groupby("label").head(settings.max_images_per_class).index
    surplus = pd.Series(~rows.index.isin(kept), index=rows.index)
    return _leave_out(rows, surplus, SURPLUS_OF_CLASS, findings)


def _groups(
    rows: pd.DataFrame, split: SplitSettings, look: Callable[[], npt.NDArray[np.uint8]], cache: Path
) -> pd.Series[str]:
    """The group of each picture; those of one group go to the same split.

    `look` gives the pictures to be compared, where any are.
    """
    if split.keep_near_duplicates_together:
        return near_duplicate_groups(rows, look(), cache)
    return rows["pixel_hash"] if split.keep_twins_together else rows["id"]


def _split_note(given: list[str]) -> str:
    """Which splits the source gave, and which were drawn all the same."""
    drawn = drawn_splits(given)
    if set(drawn) == set(SPLITS):
        return ""
    if not drawn:
        return "train, valid and test as the source gives them"
    kept = next(name for name in SPLITS if name not in drawn)
    return f"{kept} as the source gives it; {drawn[1]} drawn from its train"


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


def _decodable(
    rows: pd.DataFrame, pixels: PixelCache, source: Source, findings: list[Finding]
) -> pd.DataFrame:
    """Drop pictures that do not decode; note those that were converted or resized unevenly.

    Raises DataError where none does.
    """
    table = pixels.table
    bad = table["problem"] != ""
    if bad.all():
        picture, problem = table.iloc[0][["id", "problem"]]
        raise DataError(
            f"data.path: {source.title}: none of its {len(table):,} pictures can be decoded; "
            f"the first, {str(picture)[:200]}: {problem}"
        )
    findings.extend(
        Finding("dropped", _why_unreadable(problem), str(picture.id), problem)
        for picture in table[bad].itertuples()
        if (problem := str(picture.problem))
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


def _why_unreadable(problem: str) -> str:
    return problem if problem == HEIC else UNREADABLE


def _require_rows(chosen: Chosen, source: Source) -> None:
    if len(chosen.rows):
        return
    dropped = [finding for finding in chosen.findings if finding.action == "dropped"]
    reasons = ", ".join(
        f"{reason} {count}"
        for reason, count in Counter(finding.reason for finding in dropped).most_common(3)
    )
    first = f"; the first: {dropped[0].image_id or dropped[0].detail}" if dropped else ""
    raise DataError(
        f"data.path: {source.title}: none of its {chosen.rows_read} rows has an id, a label and "
        f"a picture{f' ({reasons}){first}' if reasons else ''}"
    )


def _require_two_classes(
    rows: pd.DataFrame, before: pd.DataFrame, source: Source, settings: DataSettings
) -> None:
    found = rows["label"].nunique()
    if found >= 2:
        return
    if before["label"].nunique() == 1:
        raise DataError(
            f"data.path: {source.title}: all its {len(before):,} usable pictures are of one class, "
            f"{before['label'].iloc[0]!r}, and 2 are needed"
        )
    largest = before["label"].value_counts().head(3)
    sizes = ", ".join(f"{label} {count}" for label, count in largest.items()) or "none"
    raise DataError(
        f"data.min_images_per_class: {settings.min_images_per_class} leaves {found} of "
        f"{before['label'].nunique()} classes{_of_column(settings)}, and 2 are needed; "
        f"the largest are {sizes}"
    )


def _refuse_too_many_classes(rows: pd.DataFrame, source: Source, settings: DataSettings) -> None:
    """Refuse, before anything is decoded, a label column of names or numbers of single pictures."""
    sizes = rows["label"].value_counts()
    classes = len(sizes) if settings.max_classes is None else min(len(sizes), settings.max_classes)
    if classes <= MAX_CLASSES:
        return
    least = int(sizes.iloc[MAX_CLASSES]) + 1
    left = int((sizes >= least).sum())
    by_size = f"data.min_images_per_class ({least} leaves {left:,}) or " if left >= 2 else ""
    largest = ", ".join(f"{str(label)[:40]} {count}" for label, count in sizes.head(3).items())
    raise DataError(
        f"data.label: {source.title}: {classes:,} classes{_of_column(settings)} in {len(rows):,} "
        f"pictures are too many: at most {MAX_CLASSES:,} can be compared; the largest are "
        f"{largest}; name another column, or keep fewer by {by_size}data.max_classes"
    )


def _of_column(settings: DataSettings) -> str:
    return "" if settings.source == "folder" else f" of {settings.label!r}"


def _sample(rows: pd.DataFrame, settings: DataSettings, findings: list[Finding]) -> pd.DataFrame:
    """Keep `max_images` pictures, each class in proportion, the same ones for the same seed.

    Raises DataError where a class would be left without any.
    """
    if settings.max_images is None or len(rows) <= settings.max_images:
        return rows
    place = _places(rows, settings.split.seed)
    kept = place.sort_values(kind="stable").index[: settings.max_images]
    surplus = pd.Series(~rows.index.isin(kept), index=rows.index)
    lost = sorted(set(rows["label"]) - set(rows.loc[~surplus, "label"]))
    if lost:
        raise DataError(
            f"data.max_images: {settings.max_images} leaves no picture of class {lost[0]!r}; "
            "raise it, or data.min_images_per_class"
        )
    return _leave_out(rows, surplus, SURPLUS_IMAGE, findings)


def _places(rows: pd.DataFrame, seed: int) -> pd.Series[float]:
    """A relative place, from 0 to 1, of each picture within its class and given split.

    Ranking by it takes all classes evenly. The same ids and seed give the same places.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = rows.sort_values("id").iloc[order]
    peers = shuffled.groupby(["label", "split"])
    place: pd.Series[float] = (peers.cumcount() + 0.5) / peers["id"].transform("size")
    return place


def _counts(manifest: pd.DataFrame) -> dict[str, Any]:
    """What a summary says of the pictures that are left."""
    per_class = manifest["label"].value_counts()
    per_split = manifest["split"].value_counts()
    return {
        "fingerprint": fingerprint(manifest),
        "classes": tuple(sorted(manifest["label"].unique())),
        "images": {name: int(per_split.get(name, 0)) for name in SPLITS},
        "images_per_class": {str(label): int(count) for label, count in per_class.items()},
        **twin_statistics(manifest),
    }
