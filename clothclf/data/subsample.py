"""Subsample a split data set; no image moves to another split."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clothclf.data.sources import Finding
from clothclf.data.splits import SPLITS
from clothclf.errors import DataError
from clothclf.settings import DataSettings

SURPLUS_OF_SPLIT = "image beyond data.at_most"


def subsampled(
    manifest: pd.DataFrame, settings: DataSettings, findings: list[Finding]
) -> pd.DataFrame:
    """Keep the manifest's rows within `data.at_most`, in order; the others become findings.

    Samples are deterministic for a split seed and nested: a smaller sample is a subset of a larger
    one. Raises DataError if a split would lose a class.
    """
    limits = {name: getattr(settings.at_most, name) for name in SPLITS}
    if not any(limits.values()):
        return manifest
    order = np.random.default_rng(settings.split.seed).permutation(len(manifest))
    shuffled = manifest.sort_values("id").iloc[order]
    by_class = shuffled.groupby(["split", "label"])
    # Relative ranks sample all classes evenly; the first image of each class ranks first.
    rank = by_class.cumcount() / by_class["id"].transform("size")
    ranked = shuffled.assign(rank=rank).sort_values("rank", kind="stable")
    remaining = ranked.index
    for name, maximum in limits.items():
        if maximum is None:
            continue
        own = ranked.index[ranked["split"] == name]
        classes = manifest.loc[own, "label"].nunique()
        if maximum < classes:
            raise DataError(
                f"data.at_most.{name}: {maximum} is fewer than its {classes} classes; raise it"
            )
        remaining = remaining.difference(own[maximum:], sort=False)
    left_out = manifest.loc[~manifest.index.isin(remaining), ["id", "label"]]
    findings.extend(
        Finding("dropped", SURPLUS_OF_SPLIT, str(row.id), str(row.label))
        for row in left_out.itertuples()
    )
    rows: pd.DataFrame = manifest[manifest.index.isin(remaining)].reset_index(drop=True)
    return rows
