"""Describe the data of a study as text, for `bench data stats`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.report.statistics import POWER, smallest_difference
from clothclf.data.dataset import DataSet
from clothclf.data.groups import GROUP
from clothclf.data.sources.listing import escaped
from clothclf.data.splits import SPLITS

DUPLICATES_SHOWN = 3
CONFLICTS_SHOWN = 20
IMAGES_SHOWN = 10
"""Maximum images of one group of duplicates to list."""
DIFFERING = (0.05, 0.2)
"""Usual shares of test images that only one of two similar architectures predicts correctly."""


def describe(data: DataSet, near_duplicates: str = "") -> str:
    """Describe rows, exclusions by reason, classes, splits, exact duplicates and label conflicts.

    `near_duplicates` is a description of the near-duplicates, if known.
    """
    summary = data.summary
    used = sum(summary.images.values())
    lines = [
        f"source       {summary.title}",
        f"fingerprint  {summary.fingerprint}",
        f"rows         {summary.rows_read:,} read, {used:,} images kept",
    ]
    if summary.split_note:
        lines.append(f"splits       {summary.split_note}")
    for action, counts in (("dropped", summary.dropped), ("repaired", summary.repaired)):
        lines += [f"{action:<12} {count:,}: {reason}" for reason, count in counts.items()]
    lines += _groups(data)
    lines.append(
        f"duplicates   {summary.exact_duplicate_images:,} images in "
        f"{summary.exact_duplicate_groups:,} groups of exact duplicates; "
        f"{summary.exact_duplicates_across_splits:,} groups across splits"
    )
    lines += [
        f"             {_first(ids, ' = ')}"
        for ids in exact_duplicate_groups(data.manifest)[:DUPLICATES_SHOWN]
    ]
    if summary.split_note and summary.exact_duplicates_across_splits:
        lines.append(
            "             given splits are kept: these duplicates leak into validation or test"
        )
    lines += [f"similar      {near_duplicates}"] if near_duplicates else []
    lines.append(
        f"conflicts    {summary.label_conflicts:,} groups of exact duplicates have several labels"
    )
    lines += _conflicts(data.manifest)
    lines.append(_smallest_difference(summary.images["test"]))
    if summary.groups:
        lines.append("             images of one group are not independent: expect larger ones")
    lines += ["", *_balance(data.manifest), *_classes(data.manifest)]
    return "\n".join(lines) + "\n"


def _smallest_difference(images: int) -> str:
    """Describe which difference between two architectures the test split can show."""
    points = [100 * smallest_difference(images, differing) for differing in DIFFERING]
    return (
        f"test split   {images:,} images show a difference in accuracy of {points[0]:.1f} to "
        f"{points[1]:.1f} points between two architectures that are correct on different images in "
        f"{DIFFERING[0]:.0%} to {DIFFERING[1]:.0%} of cases ({POWER:.0%} power, one seed)"
    )


def _groups(data: DataSet) -> list[str]:
    """Describe the groups of `data.split.group`; empty if it is not set."""
    if GROUP not in data.manifest:
        return []
    sizes = data.manifest[GROUP].value_counts().sort_index().sort_values(kind="stable")
    across = data.summary.groups_across_splits
    line = (
        f"groups       {len(sizes):,}, the largest ({escaped(str(sizes.index[-1])[:40])}) has "
        f"{sizes.iloc[-1]:,} images; {across:,} groups across splits"
    )
    leak = "             given splits are kept: these groups leak into validation or test"
    return [line, *([leak] if across else [])]


def exact_duplicate_groups(manifest: pd.DataFrame) -> list[list[str]]:
    """Groups of ids of exact duplicates, largest group first."""
    groups = [sorted(ids) for ids in manifest.groupby("pixel_hash")["id"].agg(list) if len(ids) > 1]
    return sorted(groups, key=lambda ids: (-len(ids), ids))


def _conflicts(manifest: pd.DataFrame) -> list[str]:
    groups = manifest.groupby("pixel_hash")
    conflicting = groups.filter(lambda group: group["label"].nunique() > 1)
    lines = [
        "             "
        + _first([f"{image} {label}" for image, label in zip(g["id"], g["label"], strict=True)])
        for _, group in conflicting.groupby("pixel_hash")
        # Every label is among the first images.
        for g in [group.iloc[group.groupby("label").cumcount().argsort(kind="stable")]]
    ]
    more = len(lines) - CONFLICTS_SHOWN
    return [*lines[:CONFLICTS_SHOWN], *([f"             and {more} more"] if more > 0 else [])]


def _first(images: Sequence[str], separator: str = ", ") -> str:
    """Join the first images of a group, and count the others."""
    more = len(images) - IMAGES_SHOWN
    shown = separator.join(images[:IMAGES_SHOWN])
    return f"{shown} and {more:,} more" if more > 0 else shown


def _balance(manifest: pd.DataFrame) -> list[str]:
    """Describe the largest and smallest class, and classes that lack images in a split."""
    sizes = manifest["label"].value_counts().sort_index().sort_values(kind="stable")
    smallest, largest = sizes.index[0], sizes.index[-1]
    lines = [
        f"classes      {len(sizes):,}, from {sizes.iloc[0]:,} ({smallest}) to {sizes.iloc[-1]:,} "
        f"images ({largest}); always predicting {largest} gives an accuracy of "
        f"{sizes.iloc[-1] / len(manifest):.1%}"
    ]
    counts = pd.crosstab(manifest["label"], manifest["split"])
    for split in counts.columns:
        empty = [str(label) for label in counts.index[counts[split] == 0]]
        if empty:
            # Their F1 is 0 for every architecture, which lowers macro-F1.
            more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
            lines.append(f"             none in {split}: {', '.join(empty[:5])}{more}")
    return [*lines, ""]


def _classes(manifest: pd.DataFrame) -> list[str]:
    table = pd.crosstab(manifest["label"], manifest["split"])
    table = table.reindex(columns=list(SPLITS), fill_value=0)
    table.insert(0, "images", table.sum(axis=1))
    table = table.sort_values("images", ascending=False)
    table.loc[f"{len(table)} classes"] = table.sum()
    table.index.name = None
    table.columns.name = None
    text: str = table.to_string()
    return text.splitlines()
