"""Nested, stratified subsets of the training images that keep groups together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.errors import CurveError
from benchmark.runs.curve_results import SHARES

MIN_PER_CLASS = 2
"""Minimum images per class, on average, of the smallest subset."""

Ints = npt.NDArray[np.int64]


def require_enough(images: int, classes: int) -> None:
    """Raise CurveError if a training split is too small for five sizes."""
    needed = round(MIN_PER_CLASS * classes / SHARES[0])
    if images < needed:
        raise CurveError(
            f"{images:,} training images of {classes} classes are too few for five sizes: the "
            f"smallest is 1/{1 / SHARES[0]:.0f} of them and needs {MIN_PER_CLASS} images per "
            f"class, so {needed:,} in all"
        )


def nested_subsets(labels: Ints, groups: Ints, seed: int | list[int]) -> list[Ints]:
    """Draw a subset of the training images for each share below 1: ascending positions.

    `labels` [n] are class numbers, `groups` [n] group numbers; images of one group stay together.
    A subset includes the smaller ones. Groups come in random order; relative ranks within their
    class, the most frequent one of a group, take the same share of every class, as far as groups
    allow.
    """
    images = pd.DataFrame({"group": groups, "label": labels})
    counts = images.value_counts(["group", "label"], sort=False).rename("images").reset_index()
    counts = counts.sort_values(["group", "images", "label"], ascending=[True, False, True])
    whole = counts.groupby("group", sort=True).agg(label=("label", "first"), size=("images", "sum"))
    order = np.random.default_rng(seed).permutation(len(whole))
    shuffled = whole.iloc[order]
    by_class = shuffled.groupby("label")["size"]
    # The first group of each class ranks first, so that no subset lacks a class.
    rank = (by_class.cumsum() - shuffled["size"]) / by_class.transform("sum")
    ranked = shuffled.iloc[np.argsort(rank.to_numpy(), kind="stable")]
    images_before = ranked["size"].cumsum().to_numpy()
    subsets = []
    for share in SHARES[:-1]:
        count = 1 + int(np.abs(images_before - share * len(labels)).argmin())
        count = max(count, int(whole["label"].nunique()))
        subsets.append(np.flatnonzero(np.isin(groups, ranked.index[:count])).astype(np.int64))
    return subsets
