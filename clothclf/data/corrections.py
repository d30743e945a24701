"""Correct labels and exclude images by the decisions in a CSV, such as a reviewed audit's."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clothclf.csv_text import unquoted
from clothclf.data.dataset import fingerprint
from clothclf.data.exclude import read_content
from clothclf.data.sources import Chosen, Finding
from clothclf.data.sources.listing import escaped
from clothclf.data.sources.selection import DETAIL_CHARACTERS
from clothclf.data.sources.table import read_table
from clothclf.data.splits import SPLIT_TITLES
from clothclf.errors import DataError, did_you_mean

KEEP, SUGGESTED, EXCLUDE = "keep", "suggested", "exclude"
CORRECTED = "label corrected"
EXCLUDED = "excluded by data.corrections"
COLUMNS = ("id", "label", "decision")
"""Required columns; `suggested` only if a decision refers to it."""


@dataclass(frozen=True)
class _Decision:
    """One row of the file with a decision."""

    where: str
    """File and line for messages."""
    id: str
    label: str
    """Label that the decision was made for."""
    decision: str
    suggested: str


def with_corrections(
    manifest: pd.DataFrame, path: Path, chosen: Chosen, findings: list[Finding]
) -> pd.DataFrame:
    """Apply the decisions in the file to the manifest; each change becomes a finding.

    Images that filters or samples dropped from `chosen` are ignored. Raises DataError if the file
    cannot be read or has no decision, for an unknown image or class, a label that is not that of
    the data, contradicting decisions, or a class that would lose its images in a split.
    """
    labels = dict(zip(manifest["id"], manifest["label"], strict=True))
    classes = sorted(set(labels.values()))
    known = {*chosen.rows["id"], *(finding.image_id for finding in chosen.findings)}
    decided: dict[str, tuple[str | None, str]] = {}
    for row in _read(path):
        image_id = _known_id(row, known)
        if image_id not in labels:
            continue
        _require_label(row, labels[image_id])
        label = _decided_label(row, labels[image_id], classes)
        if decided.setdefault(image_id, (label, row.where))[0] != label:
            earlier = decided[image_id][1].rpartition(" ")[2]
            raise DataError(
                f"{row.where}: image {image_id[:80]!r} has another decision in line {earlier}; "
                "remove one of them"
            )
    after = manifest["id"].map({name: label for name, (label, _) in decided.items()})
    dropped = manifest["id"].isin({name for name, (label, _) in decided.items() if label is None})
    changed = after.notna() & (after != manifest["label"])
    corrected = manifest.assign(label=manifest["label"].where(~changed, after))[~dropped]
    _require_classes(manifest, corrected, path)
    findings.extend(
        Finding("repaired", CORRECTED, str(name), f"{old} -> {new}")
        for name, old, new in zip(
            *(manifest.loc[changed, "id"], manifest.loc[changed, "label"], after[changed]),
            strict=True,
        )
    )
    findings.extend(
        Finding("dropped", EXCLUDED, str(name), str(label))
        for name, label in manifest.loc[dropped, ["id", "label"]].itertuples(index=False)
    )
    result: pd.DataFrame = corrected.reset_index(drop=True)
    return result


def correction_statistics(given: pd.DataFrame, corrected: pd.DataFrame) -> dict[str, Any]:
    """Return the fingerprint of the data as given, and counts of changes by split.

    Empty if the manifests are the same.
    """
    if given is corrected or (before := fingerprint(given)) == fingerprint(corrected):
        return {}
    labels = corrected.set_index("id")["label"]
    after = given["id"].map(labels)
    changed, dropped = after.notna() & (after != given["label"]), after.isna()
    return {
        "uncorrected_fingerprint": before,
        "labels_corrected": _by_split(given[changed]),
        "images_excluded": _by_split(given[dropped]),
    }


def _by_split(manifest: pd.DataFrame) -> dict[str, int]:
    return {str(name): int(count) for name, count in manifest["split"].value_counts().items()}


def _read(path: Path) -> Iterator[_Decision]:
    """Yield the rows with a decision; raises DataError if there are none."""
    where = f"data.corrections: {path}"
    table = read_table(read_content(path, "data.corrections"), where, "id")
    for name in COLUMNS:
        if name not in table.columns:
            raise DataError(
                f"{where}: has no column {name!r}; `bench data audit --csv` writes the columns id, "
                "label, suggested and decision"
            )
    columns = [table.values(name) for name in COLUMNS]
    suggested = (
        table.values("suggested") if "suggested" in table.columns else [""] * len(table.rows)
    )
    rows = [
        _Decision(f"{where}, line {line}", *map(_composed, cells))
        for line, *cells in zip(table.lines, *columns, suggested, strict=True)
        if cells[2]
    ]
    if not rows:
        raise DataError(
            f"{where}: has no decision; fill in column decision with keep, suggested, exclude or "
            "the right class"
        )
    yield from rows


def _composed(text: str) -> str:
    """Normalize text to NFC, as labels are."""
    return unicodedata.normalize("NFC", text)


def _known_id(row: _Decision, known: set[str]) -> str:
    """Return the id as in the data: bench writes it quoted where a spreadsheet might run it."""
    for image_id in (row.id, unquoted(row.id)):
        # Findings hold the ids of dropped rows shortened.
        if image_id and (image_id in known or escaped(image_id[:DETAIL_CHARACTERS]) in known):
            return image_id
    raise DataError(
        f"{row.where}: the data have no image {row.id[:80]!r}; `bench data stats --manifest` lists "
        "the ids"
    )


def _require_label(row: _Decision, label: str) -> None:
    if label not in (row.label, unquoted(row.label)):
        raise DataError(
            f"{row.where}: written for other labels: image {row.id[:80]!r} is {label!r} in the "
            f"data, not {row.label[:80]!r}; repeat the audit, or correct the column label"
        )


def _decided_label(row: _Decision, label: str, classes: list[str]) -> str | None:
    """Return the label after the decision; None if the image is to be dropped."""
    if row.decision == KEEP:
        return label
    if row.decision == EXCLUDE:
        return None
    is_suggestion = row.decision == SUGGESTED
    chosen = row.suggested if is_suggestion else row.decision
    for text in (chosen, unquoted(chosen)):
        if text in classes:
            return text
    if not chosen:
        raise DataError(f"{row.where}: has no suggestion to follow; give another decision")
    what = "suggestion" if is_suggestion else "decision"
    known = classes if is_suggestion else [*classes, KEEP, SUGGESTED, EXCLUDE]
    raise DataError(
        f"{row.where}: {what} {chosen[:80]!r} is not a class of the data"
        f"{did_you_mean(chosen, known)}; a decision is empty, keep, suggested, exclude or a class"
    )


def _require_classes(given: pd.DataFrame, corrected: pd.DataFrame, path: Path) -> None:
    """Raise DataError if a class has lost all its images of a split."""
    pairs = [
        set(frame[["split", "label"]].itertuples(index=False, name=None))
        for frame in (given, corrected)
    ]
    for split, label in sorted(pairs[0] - pairs[1]):
        raise DataError(
            f"data.corrections: {path}: leaves class {label!r} without an image in the "
            f"{SPLIT_TITLES[split]} split; keep one of its labels, or drop the class with "
            "data.where"
        )
