"""The data of a study in words, for `bench data stats`."""

from __future__ import annotations

import pandas as pd

from clothclf.data.dataset import DataSet
from clothclf.data.splits import SPLITS

TWINS_SHOWN = 3


def describe(data: DataSet) -> str:
    """Rows, losses by reason, classes with splits, twins and label conflicts, as plain text."""
    summary = data.summary
    kept = sum(summary.images.values())
    lines = [
        f"source       {summary.title}",
        f"fingerprint  {summary.fingerprint}",
        f"rows         {summary.rows_read:,} read, {kept:,} images kept",
    ]
    for action, counts in (("dropped", summary.dropped), ("repaired", summary.repaired)):
        lines += [f"{action:<12} {count:,}: {reason}" for reason, count in counts.items()]
    lines.append(
        f"twins        {summary.twin_images:,} images in {summary.twin_groups:,} groups with the "
        f"same pixels; {summary.twins_across_splits:,} groups across splits"
    )
    lines += [f"             {' = '.join(ids)}" for ids in twin_groups(data.manifest)[:TWINS_SHOWN]]
    lines.append(f"conflicts    {summary.label_conflicts:,} twin groups carry several labels")
    lines += _conflicts(data.manifest)
    lines += ["", *_classes(data.manifest)]
    return "\n".join(lines) + "\n"


def twin_groups(manifest: pd.DataFrame) -> list[list[str]]:
    """Ids of pictures with the same pixels, the largest groups first."""
    groups = [sorted(ids) for ids in manifest.groupby("pixel_hash")["id"].agg(list) if len(ids) > 1]
    return sorted(groups, key=lambda ids: (-len(ids), ids))


def _conflicts(manifest: pd.DataFrame) -> list[str]:
    groups = manifest.groupby("pixel_hash")
    conflicting = groups.filter(lambda group: group["label"].nunique() > 1)
    return [
        "             "
        + ", ".join(f"{image} {label}" for image, label in zip(g["id"], g["label"], strict=True))
        for _, g in conflicting.groupby("pixel_hash")
    ]


def _classes(manifest: pd.DataFrame) -> list[str]:
    table = pd.crosstab(manifest["label"], manifest["split"]).reindex(columns=list(SPLITS))
    table.insert(0, "images", table.sum(axis=1))
    table = table.sort_values("images", ascending=False)
    table.loc[f"{len(table)} classes"] = table.sum()
    table.index.name = None
    table.columns.name = None
    text: str = table.to_string()
    return text.splitlines()
