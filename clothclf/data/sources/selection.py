"""Which of a source's rows a study takes: those with a name, a label and the values asked for.

Every source is treated alike here, and every row that is not taken is a finding.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from clothclf.data.sources.listing import (
    Finding,
    Listing,
    Source,
    Wanted,
    escaped,
    is_one_line,
)
from clothclf.data.splits import SPLIT_NAMES
from clothclf.errors import DataError, did_you_mean
from clothclf.settings import DataSettings

MAX_LABEL_CHARACTERS = 100
_DETAIL_CHARACTERS = 100
_NO_VALUE = ("nan", "<na>", "null", "#n/a")
"""What programs write into tables where there is no value; capitals do not count."""

FILTERED = "not among data.where"
NO_ID = "row without an id"
NO_LABEL = "no label"
UNUSABLE_LABEL = "label is not one short line"
UNKNOWN_SPLIT = "split is not train, valid or test"
NO_SPLIT = "no split given, unlike others"
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
    listing = source.list_images(wanted)
    if settings.split.given == "ignore":
        listing = replace(listing, splits=())
    return choose(listing, wanted, source.title)


def wanted_of(settings: DataSettings) -> Wanted:
    """What the settings ask of a source."""
    split = settings.split.column if settings.split.given == "keep" else None
    return Wanted(settings.label, settings.where, split)


def choose(listing: Listing, wanted: Wanted, title: str) -> Chosen:
    """Take the rows that can be used and were asked for; `title` is the source's.

    Of equal ids the first usable one stays. Raises DataError where a filter leaves nothing.
    """
    asked = _asked_for(listing, wanted.where, title)
    given = listing.columns[wanted.split] if wanted.split else listing.splits
    splits = [SPLIT_NAMES.get(name.strip().lower(), name.strip()) for name in given]
    if wanted.split and splits and not set(SPLIT_NAMES.values()) & set(splits):
        raise DataError(
            f"data.split.column: {title}: column {wanted.split!r} names no split: none of its "
            f"values is train, valid or test; its most frequent values are: {_frequent(splits)}"
        )
    # Where nothing is given to validation or test, all is drawn, and no row lacks its split.
    split_faults = _split_errors(splits) if {"valid", "test"} & set(splits) else ()
    labels = listing.columns[wanted.label]
    nothing = [""] * len(listing.ids)
    findings = list(listing.findings)
    kept: dict[str, tuple[str, str]] = {}
    rows = zip(
        *(listing.ids, labels, splits or nothing, asked),
        *(listing.faults or nothing, split_faults or nothing, listing.places or nothing),
        strict=True,
    )
    for name, category, split, is_asked, fault, split_fault, place in rows:
        image_id, label = name.strip(), _composed(category)
        reason = FILTERED if not is_asked else _label_error(image_id, label) or fault or split_fault
        if not reason and image_id in kept:
            reason = DUPLICATE_ID
        if reason:
            told = escaped(image_id[:_DETAIL_CHARACTERS])
            findings.append(Finding("dropped", reason, told, place))
        else:
            kept[image_id] = (label, split if split_faults else "")
    frame = pd.DataFrame(
        {
            "id": list(kept),
            "label": [label for label, _ in kept.values()],
            "split": [split for _, split in kept.values()],
        },
        dtype=str,
    )
    return Chosen(frame, len(listing.ids), tuple(findings))


def _split_errors(splits: Sequence[str]) -> list[str]:
    known = set(SPLIT_NAMES.values())
    return ["" if split in known else UNKNOWN_SPLIT if split else NO_SPLIT for split in splits]


def _composed(text: str) -> str:
    """Text without blanks around it, its accents in one form: two would make two classes of one."""
    return unicodedata.normalize("NFC", text.strip())


def _label_error(image_id: str, category: str) -> str:
    if not image_id:
        return NO_ID
    if not category or category.lower() in _NO_VALUE:
        return NO_LABEL
    # Labels name classes in tables, images and metrics: no control characters there.
    if len(category) > MAX_LABEL_CHARACTERS or not is_one_line(category):
        return UNUSABLE_LABEL
    return ""


def _asked_for(
    listing: Listing, where: Mapping[str, tuple[str, ...]], title: str
) -> Sequence[bool]:
    """Whether each row has one of the values asked for, in every column of the filters."""
    asked = [True] * len(listing.ids)
    for column, values in where.items():
        found = [_composed(value) for value in listing.columns[column]]
        some, present = {_composed(value) for value in values}, set(found)
        for value in values:
            if _composed(value) not in present:
                raise DataError(_no_value(title, column, value, found))
        asked = [so_far and value in some for so_far, value in zip(asked, found, strict=True)]
    if where and listing.ids and not any(asked):
        filters = " and ".join(f"{name} {' or '.join(some)}" for name, some in where.items())
        raise DataError(f"data.where: {title}: no row has {filters[:300]}; widen the filters")
    return asked


def _no_value(title: str, column: str, value: str, found: Sequence[str]) -> str:
    hint = did_you_mean(value, sorted(set(found))[:1000])
    return (
        f"data.where: {title}: no row has {value[:80]!r} in column {column!r}{hint}; "
        f"its most frequent values are: {_frequent(found)}"
    )


def _frequent(values: Sequence[str]) -> str:
    counts = Counter(value for value in values if value).most_common(10)
    return ", ".join(f"{value[:40]} {count}" for value, count in counts) or "none"
