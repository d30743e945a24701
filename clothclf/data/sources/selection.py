"""Which of a source's rows a study takes: those with a name, a label and the values asked for.

Every source is treated alike here, and every row that is not taken is a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import pandas as pd

from clothclf.data.sources.listing import SPLIT_NAMES, Finding, Listing, Source, Wanted
from clothclf.errors import DataError, did_you_mean
from clothclf.settings import DataSettings

MAX_LABEL_CHARACTERS = 100
_DETAIL_CHARACTERS = 100

FILTERED = "not among data.where"
NO_ID = "row without an id"
NO_LABEL = "no label"
UNUSABLE_LABEL = "label is not one short line"
UNKNOWN_SPLIT = "split is not train, valid or test"
DUPLICATE_ID = "duplicate id"


@dataclass(frozen=True)
class Chosen:
    """The rows that a study takes of a source, and what became of the others."""

    rows: pd.DataFrame
    """Columns `id`, `label` and `split` (text; no split is given where it is empty), ids unique."""
    rows_read: int
    """Rows that the source has, those left out included."""
    findings: tuple[Finding, ...]


def list_wanted(source: Source, settings: DataSettings) -> Chosen:
    """List a source and choose from it as the settings say; raises DataError."""
    wanted = wanted_of(settings)
    return choose(source.list_images(wanted), wanted, source.title)


def wanted_of(settings: DataSettings) -> Wanted:
    """What the settings ask of a source."""
    return Wanted(settings.label)


def choose(listing: Listing, wanted: Wanted, title: str) -> Chosen:
    """Take the rows that can be used and were asked for; `title` is the source's.

    Of equal ids the first usable one stays. Raises DataError where a filter leaves nothing.
    """
    asked = _asked_for(listing, wanted.where, title)
    splits = listing.columns[wanted.split] if wanted.split else listing.splits
    labels = listing.columns[wanted.label]
    faults, places = listing.faults or repeat(""), listing.places or repeat("")
    findings = list(listing.findings)
    kept: dict[str, tuple[str, str]] = {}
    rows = zip(listing.ids, labels, splits or repeat(""), faults, places, asked, strict=False)
    for image_id, category, given, fault, place, is_asked in rows:
        image_id, category = image_id.strip(), category.strip()
        split = SPLIT_NAMES.get(given.strip().lower(), "")
        reason = FILTERED if not is_asked else _label_fault(image_id, category) or fault
        if not reason and given.strip() and not split:
            reason = UNKNOWN_SPLIT
        if not reason and image_id in kept:
            reason = DUPLICATE_ID
        if reason:
            name = image_id[:_DETAIL_CHARACTERS]
            findings.append(Finding("dropped", reason, name, place))
        else:
            kept[image_id] = (category, split)
    frame = pd.DataFrame(
        {
            "id": list(kept),
            "label": [category for category, _ in kept.values()],
            "split": [split for _, split in kept.values()],
        },
        dtype=str,
    )
    return Chosen(frame, len(listing.ids), tuple(findings))


def _label_fault(image_id: str, category: str) -> str:
    if not image_id:
        return NO_ID
    if not category:
        return NO_LABEL
    # Labels name classes in tables, pictures and metrics: no control characters there.
    if len(category) > MAX_LABEL_CHARACTERS or not category.isprintable():
        return UNUSABLE_LABEL
    return ""


def _asked_for(
    listing: Listing, where: Mapping[str, tuple[str, ...]], title: str
) -> Sequence[bool]:
    """Whether each row has one of the values asked for, in every column of the filters."""
    asked = [True] * len(listing.ids)
    for column, values in where.items():
        found = [value.strip() for value in listing.columns[column]]
        for value in values:
            if value not in found:
                raise DataError(_no_value(title, column, value, found))
        some = set(values)
        asked = [so_far and value in some for so_far, value in zip(asked, found, strict=True)]
    if where and listing.ids and not any(asked):
        filters = " and ".join(f"{name} {' or '.join(some)}" for name, some in where.items())
        raise DataError(f"data.where: {title}: no row has {filters[:300]}; widen the filters")
    return asked


def _no_value(title: str, column: str, value: str, found: Sequence[str]) -> str:
    counts = pd.Series([each for each in found if each], dtype=str).value_counts()
    names = ", ".join(f"{str(name)[:40]} {count}" for name, count in counts.head(10).items())
    hint = did_you_mean(value, [str(name) for name in counts.index[:1000]])
    return (
        f"data.where: {title}: no row has {value[:80]!r} in column {column!r}{hint}; "
        f"its most frequent values are: {names or 'none'}"
    )
