"""Select the rows of a study from a source's listing: those with an id and a label that match.

All sources are treated alike, and every dropped row becomes a finding.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from clothclf.data.groups import GROUP
from clothclf.data.sources.listing import (
    Finding,
    Listing,
    Query,
    Source,
    escaped,
    is_one_line,
)
from clothclf.data.splits import SPLIT_NAMES
from clothclf.errors import DataError, did_you_mean
from clothclf.settings import DataSettings

MAX_LABEL_CHARACTERS = 100
DETAIL_CHARACTERS = 100
_NO_VALUE = ("nan", "<na>", "null", "#n/a")
"""Markers of missing values in tables, in lower case."""

FILTERED = "not among data.where"
NO_ID = "row without an id"
NO_LABEL = "no label"
UNUSABLE_LABEL = "label is not one short line"
UNKNOWN_SPLIT = "split is not train, valid or test"
NO_SPLIT = "no split given, unlike for other rows"
DUPLICATE_ID = "duplicate id"


@dataclass(frozen=True)
class Chosen:
    """Rows selected from a source, and findings for the others."""

    rows: pd.DataFrame
    """Text columns `id` (unique), `label` and `split` (empty if not given); also `group` (empty if
    missing) where the query has one."""
    rows_read: int
    """Number of rows in the source, including dropped ones."""
    findings: tuple[Finding, ...]


def list_rows(source: Source, settings: DataSettings) -> Chosen:
    """List a source and select its rows as the settings say; raises DataError."""
    query = query_of(settings)
    listing = source.list_images(query)
    if settings.split.given == "ignore":
        listing = replace(listing, splits=())
    return choose(listing, query, source.title)


def query_of(settings: DataSettings) -> Query:
    """Return the query that the settings make to a source."""
    split = settings.split.column if settings.split.given == "keep" else None
    return Query(settings.label, settings.where, split, settings.split.group)


def choose(listing: Listing, query: Query, title: str) -> Chosen:
    """Select usable rows that match the query; `title` is the source's title.

    The first usable row of each id is kept. Raises DataError if a filter matches no rows.
    """
    matches = _matches(listing, query.where, title)
    given = listing.columns[query.split] if query.split else listing.splits
    splits = [SPLIT_NAMES.get(name.strip().lower(), name.strip()) for name in given]
    if query.split and splits and not set(SPLIT_NAMES.values()) & set(splits):
        raise DataError(
            f"data.split.column: {title}: column {query.split!r} contains no split: none of its "
            f"values is train, valid or test; its most frequent values are: {_frequent(splits)}"
        )
    # Without validation or test rows all splits are drawn, so no row lacks its split.
    split_errors = _split_errors(splits) if {"valid", "test"} & set(splits) else ()
    labels = listing.columns[query.label]
    nothing = [""] * len(listing.ids)
    groups = listing.columns[query.group] if query.group else nothing
    findings = list(listing.findings)
    selected: dict[str, tuple[str, str, str]] = {}
    rows = zip(
        *(listing.ids, labels, splits or nothing, groups, matches),
        *(listing.errors or nothing, split_errors or nothing, listing.places or nothing),
        strict=True,
    )
    for name, category, split, group, is_match, error, split_error, where in rows:
        image_id, label = name.strip(), _composed(category)
        reason = FILTERED if not is_match else _label_error(image_id, label) or error or split_error
        if not reason and image_id in selected:
            reason = DUPLICATE_ID
        if reason:
            shown = escaped(image_id[:DETAIL_CHARACTERS])
            findings.append(Finding("dropped", reason, shown, where))
        else:
            selected[image_id] = (label, split if split_errors else "", _value(group))
    frame = pd.DataFrame(
        {
            "id": list(selected),
            "label": [label for label, _, _ in selected.values()],
            "split": [split for _, split, _ in selected.values()],
        },
        dtype=str,
    )
    if query.group:
        frame[GROUP] = [group for _, _, group in selected.values()]
    return Chosen(frame, len(listing.ids), tuple(findings))


def _split_errors(splits: Sequence[str]) -> list[str]:
    known = set(SPLIT_NAMES.values())
    return ["" if split in known else UNKNOWN_SPLIT if split else NO_SPLIT for split in splits]


def _composed(text: str) -> str:
    """Strip text and normalize it to NFC, so that one class is not split by its encoding."""
    return unicodedata.normalize("NFC", text.strip())


def _value(text: str) -> str:
    """Normalize text; empty for a marker of a missing value."""
    value = _composed(text)
    return "" if value.lower() in _NO_VALUE else value


def _label_error(image_id: str, category: str) -> str:
    if not image_id:
        return NO_ID
    if not _value(category):
        return NO_LABEL
    # Labels appear in tables, images and metrics, so they must not have control characters.
    if len(category) > MAX_LABEL_CHARACTERS or not is_one_line(category):
        return UNUSABLE_LABEL
    return ""


def _matches(listing: Listing, where: Mapping[str, tuple[str, ...]], title: str) -> Sequence[bool]:
    """Return for each row whether it matches the filters of all columns."""
    matches = [True] * len(listing.ids)
    for column, values in where.items():
        column_values = [_composed(value) for value in listing.columns[column]]
        some, present = {_composed(value) for value in values}, set(column_values)
        for value in values:
            if _composed(value) not in present:
                raise DataError(_no_value(title, column, value, column_values))
        matches = [
            so_far and value in some for so_far, value in zip(matches, column_values, strict=True)
        ]
    if where and listing.ids and not any(matches):
        filters = " and ".join(f"{name} {' or '.join(some)}" for name, some in where.items())
        raise DataError(f"data.where: {title}: no row has {filters[:300]}; widen the filters")
    return matches


def _no_value(title: str, column: str, value: str, values: Sequence[str]) -> str:
    hint = did_you_mean(value, sorted(set(values))[:1000])
    return (
        f"data.where: {title}: no row has {value[:80]!r} in column {column!r}{hint}; "
        f"its most frequent values are: {_frequent(values)}"
    )


def _frequent(values: Sequence[str]) -> str:
    counts = Counter(value for value in values if value).most_common(10)
    return ", ".join(f"{value[:40]} {count}" for value, count in counts) or "none"
