"""Prepare a data set from settings: list, decode, filter classes and split, recording findings."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clothclf.data.audit.duplicates import LOOKED_AT, near_duplicate_groups
from clothclf.data.classes import (
    large_classes,
    largest_classes,
    refuse_too_many_classes,
    require_two_classes,
    sample,
    some_of_each_class,
)
from clothclf.data.corrections import correction_statistics, with_corrections
from clothclf.data.dataset import (
    MANIFEST_COLUMNS,
    DataSet,
    count_findings,
    duplicate_statistics,
    fingerprint,
    group_statistics,
)
from clothclf.data.decode import HEIC
from clothclf.data.exclude import read_ids, without_excluded
from clothclf.data.groups import GROUP, GROUP_COLUMNS, NEAR_DUPLICATE_GROUP, groups_to_split
from clothclf.data.image_limits import SLOW
from clothclf.data.pixels import Note, PixelCache, Progress, open_or_build
from clothclf.data.rgb import LEVELS
from clothclf.data.sources import Chosen, Finding, Source, list_rows, open_source
from clothclf.data.splits import SPLITS, assign_splits, drawn_splits
from clothclf.data.subsample import subsampled
from clothclf.errors import DataError
from clothclf.results import DataSummary
from clothclf.settings import DataSettings

logger = logging.getLogger(__name__)

UNREADABLE = "image does not decode"
CONVERTED = "image converted to RGB"
UNUSUAL_SIZE = "image of another size, resized"
MAX_UNUSUAL_SIZES = 0.5
"""Fraction of images that differ from the most common size, below which each is a finding."""


def prepare(
    settings: DataSettings,
    cache: Path,
    progress: Progress | None = None,
    note: Note | None = None,
) -> DataSet:
    """Prepare the data set that the settings describe.

    `cache` holds the demo images and decoded pixels, which are reused; if they are damaged, `note`
    is called and they are rebuilt.
    Raises DataError for an unreadable source, a missing column or group, fewer than 2 classes, or a
    class that is too small or whose groups are too large.
    """
    source = open_source(settings, cache)
    logger.info("reading %s", source.title)
    chosen = list_rows(source, settings)
    findings = list(chosen.findings)
    rows = _before_decoding(chosen, source, settings, findings)
    _require_groups(rows, source, settings)
    pixels = open_or_build(source, rows["id"].tolist(), settings.shown_size, cache, progress, note)
    rows = rows.assign(
        pixel_row=np.arange(len(rows)), pixel_hash=pixels.table["pixel_hash"].to_numpy()
    )
    rows = _decodable(rows, pixels, source, findings)
    usable = rows
    # Classes were chosen by all their images; a sample of them has fewer.
    minimum = 1 if _is_sampled(settings) else settings.min_images_per_class
    rows = large_classes(rows, minimum, findings)
    rows = largest_classes(rows, settings.max_classes, findings)
    require_two_classes(rows, usable, source.title, settings)
    if settings.exclude is not None and settings.max_images is None:
        rows = without_excluded(rows, settings.exclude, source.title, findings)
    if settings.split.keep_near_duplicates_together:
        # A fixed size makes the split independent of the image size of the study.
        ids = pixels.table["id"].tolist()
        looked_at = open_or_build(source, ids, LOOKED_AT, cache, progress, note).array
        near = near_duplicate_groups(rows, looked_at, cache)
        rows = rows.assign(**{NEAR_DUPLICATE_GROUP: near})
    groups = groups_to_split(rows, settings.split)
    splits = assign_splits(rows["label"], groups, settings.split, rows["split"])
    columns = [*MANIFEST_COLUMNS, *(name for name in GROUP_COLUMNS if name in rows)]
    manifest = rows.assign(split=splits)[columns].reset_index(drop=True)
    given = manifest = subsampled(manifest, settings, findings)
    if settings.corrections is not None:
        # Last, so that splits and filters are those of the labels as given.
        manifest = with_corrections(manifest, settings.corrections, chosen, findings)
    table = pd.DataFrame(
        [(f.action, f.reason, f.image_id, f.detail) for f in findings],
        columns=["action", "reason", "image_id", "detail"],
    )
    split_note = _split_note(rows["split"].tolist())
    summary = _summarise(source, chosen.rows_read, split_note, manifest, table)
    summary = dataclasses.replace(summary, **correction_statistics(given, manifest))
    sides = pixels.table[["width", "height"]].min(axis=1).iloc[manifest["pixel_row"]]
    return DataSet(manifest, table, summary, pixels.path, int(sides.median()))


def _before_decoding(
    chosen: Chosen, source: Source, settings: DataSettings, findings: list[Finding]
) -> pd.DataFrame:
    """Return the rows whose images to decode; raises DataError if no study is possible."""
    require_rows(chosen, source)
    # A class with too few rows is dropped anyway, so its images need no decoding.
    rows = large_classes(chosen.rows, settings.min_images_per_class, findings)
    require_two_classes(rows, chosen.rows, source.title, settings)
    refuse_too_many_classes(rows, source.title, settings)
    if not _is_sampled(settings):
        return rows
    # Rank classes by all their images, before each class is sampled.
    rows = largest_classes(rows, settings.max_classes, findings)
    if settings.max_images_per_class is not None:
        rows = some_of_each_class(rows, settings, findings)
    if settings.max_images is None:
        return rows
    if settings.exclude is not None:
        rows = without_excluded(rows, settings.exclude, source.title, findings)
    return sample(rows, settings, findings)


def _is_sampled(settings: DataSettings) -> bool:
    """Whether images are sampled before decoding; undecodable ones are not replaced."""
    return settings.max_images is not None or settings.max_images_per_class is not None


def _require_groups(rows: pd.DataFrame, source: Source, settings: DataSettings) -> None:
    """Raise DataError if an image, unless it is excluded, has no group although one is asked."""
    if GROUP not in rows:
        return
    missing = rows.loc[rows[GROUP] == "", "id"]
    if settings.exclude is not None:
        missing = missing[~missing.isin(read_ids(settings.exclude))]
    if len(missing):
        raise DataError(
            f"data.split.group: {source.title}: {len(missing):,} of {len(rows):,} images have no "
            f"value in column {settings.split.group!r}, the first is {missing.iloc[0][:200]}; fill "
            "in the values, or list the images in data.exclude"
        )


def _split_note(given: list[str]) -> str:
    """Describe which splits the source gave and which were drawn; empty if all were drawn."""
    drawn = drawn_splits(given)
    if set(drawn) == set(SPLITS):
        return ""
    if not drawn:
        return "train, valid and test given by the source"
    source_split = next(name for name in SPLITS if name not in drawn)
    return f"{source_split} given by the source; {drawn[1]} drawn from its training split"


def _decodable(
    rows: pd.DataFrame, pixels: PixelCache, source: Source, findings: list[Finding]
) -> pd.DataFrame:
    """Drop images that do not decode; record those converted to RGB or of an unusual size.

    Raises DataError if no image decodes.
    """
    table = pixels.table
    undecodable = table["problem"] != ""
    if undecodable.all():
        image, problem = table.iloc[0][["id", "problem"]]
        raise DataError(
            f"data.path: {source.title}: none of its {len(table):,} images can be decoded; "
            f"the first, {str(image)[:200]}: {problem}"
        )
    findings.extend(
        Finding("dropped", _why_unreadable(problem), str(image.id), problem)
        for image in table[undecodable].itertuples()
        if (problem := str(image.problem))
    )
    good = table[~undecodable]
    findings.extend(
        Finding("repaired", CONVERTED, str(image.id), str(image.stored_mode))
        for image in good[good["stored_mode"] != "RGB"].itertuples()
    )
    sizes = good["width"].astype(str) + "x" + good["height"].astype(str)
    unusual = sizes != sizes.mode().get(0)
    # Photographs often have no common size, so no size is unusual.
    if unusual.mean() < MAX_UNUSUAL_SIZES:
        findings.extend(
            Finding("repaired", UNUSUAL_SIZE, str(name), str(size))
            for name, size in zip(good.loc[unusual, "id"], sizes[unusual], strict=True)
        )
    decodable: pd.DataFrame = rows[~undecodable.to_numpy()]
    return decodable


def _why_unreadable(problem: str) -> str:
    return next((why for why in (HEIC, LEVELS, SLOW) if problem.startswith(why)), UNREADABLE)


def require_rows(chosen: Chosen, source: Source) -> None:
    """Raise DataError, with the most frequent reasons, if no row of a source is usable."""
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
        f"an image{f' ({reasons}){first}' if reasons else ''}"
    )


def _summarise(
    source: Source, rows_read: int, split_note: str, manifest: pd.DataFrame, findings: pd.DataFrame
) -> DataSummary:
    statistics: dict[str, Any] = {**duplicate_statistics(manifest), **group_statistics(manifest)}
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
        split_note=split_note,
        dropped=count_findings(findings, "dropped"),
        repaired=count_findings(findings, "repaired"),
        **statistics,
    )
