"""Stratified, seeded splits into training, validation and test that keep groups together.

Splits given by the source are kept, and missing ones are drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from clothclf.data.groups import split_groups
from clothclf.errors import DataError
from clothclf.settings import SplitSettings

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of the three splits in folders, files and columns, in lower case."""
SPLIT_TITLES = {"train": "training", "valid": "validation", "test": "test"}
"""Names of the splits in messages and reports."""
MAX_SIZES = 5
"""Maximum number of group sizes in an error."""


def assign_splits(
    labels: pd.Series[str],
    groups: pd.Series[str],
    settings: SplitSettings,
    given: pd.Series[str] | None = None,
) -> list[str]:
    """Return the split of each image.

    Within each class the fractions are met to the nearest image, as far as groups allow: images
    of one group stay together, and a group with several labels counts for its most frequent one,
    or with `settings.group` for each of them (`split_groups`).
    The same input and seed give the same splits, independent of row order. If splits are `given`
    (train, valid or test for every image), they are kept, and missing ones (`drawn_splits`) are
    drawn in the same way from the given training images.
    Raises DataError naming a class that is too small, or whose groups are too large, to have an
    image in each split.
    """
    frame = pd.DataFrame({"label": labels.to_numpy(), "group": groups.to_numpy()})
    splits = [""] * len(frame) if given is None else [str(split) for split in given]
    drawn = drawn_splits(splits)
    if drawn:
        pool = [index for index, split in enumerate(splits) if split in ("", "train")]
        shares = {name: getattr(settings, name) for name in drawn}
        labels_drawn, groups_drawn = (frame[name].iloc[pool].tolist() for name in frame)
        draw = _draw if settings.group is None else split_groups
        chosen = draw(labels_drawn, groups_drawn, settings.seed, shares)
        for index, split in zip(pool, chosen, strict=True):
            splits[index] = split
    _check_filled(frame, splits, drawn, settings.group)
    return splits


def drawn_splits(given: Collection[str]) -> tuple[str, ...]:
    """Return the splits to draw given these: none, or training and each missing one.

    If all images are given to training, all three splits are drawn.
    """
    missing = tuple(name for name in SPLITS if name != "train" and name not in given)
    return ("train", *missing) if missing else ()


def _draw(
    labels: list[str], groups: list[str], seed: int, shares: Mapping[str, float]
) -> list[str]:
    sizes = Counter(groups)
    chosen: dict[str, str] = {}
    for position, (_, members) in enumerate(sorted(_groups_of(groups, labels).items())):
        order = np.random.default_rng([seed, position]).permutation(len(members))
        in_order = sorted(members)
        chosen |= _fill([in_order[index] for index in order], sizes, shares)
    return [chosen[group] for group in groups]


def _groups_of(groups: list[str], labels: list[str]) -> dict[str, list[str]]:
    """Return the groups of each label; a group with several labels counts for the most frequent."""
    home: dict[str, tuple[int, str]] = {}
    for (group, label), votes in Counter(zip(groups, labels, strict=True)).items():
        rank = (-votes, label)
        home[group] = min(home.get(group, rank), rank)
    members: dict[str, list[str]] = defaultdict(list)
    for group, (_, label) in home.items():
        members[label].append(group)
    return members


def _fill(
    groups: list[str], sizes: Mapping[str, int], shares: Mapping[str, float]
) -> dict[str, str]:
    """Assign shuffled groups, largest first, to the split that misses the largest fraction.

    `shares` are relative weights, training first. A group that fits no split goes to the split
    that misses the most images.
    """
    splits, parts = list(shares), list(shares.values())
    total_weight = sum(parts)
    # Do not normalize weights that add up to 1 within rounding error.
    if abs(total_weight - 1) > 1e-6:
        parts = [part / total_weight for part in parts]
    total = sum(sizes[group] for group in groups)
    missing = [round(total * part) for part in parts[1:]]
    missing.insert(0, total - sum(missing))
    chosen: dict[str, str] = {}
    for group in sorted(groups, key=lambda name: -sizes[name]):
        size = sizes[group]
        fitting = [index for index, space in enumerate(missing) if space >= size]
        if fitting:
            target = max(fitting, key=lambda index: missing[index] / parts[index])
        else:
            target = missing.index(max(missing))
        chosen[group] = splits[target]
        missing[target] -= size
    return chosen


def _check_filled(
    frame: pd.DataFrame, splits: list[str], drawn: tuple[str, ...], column: str | None
) -> None:
    """Raise DataError if a class has no image in training or in a drawn split."""
    counts = pd.crosstab(frame["label"], pd.Series(splits, index=frame.index, dtype=object))
    needed = list(drawn) or ["train"]
    counts = counts.reindex(columns=needed, fill_value=0)
    small = counts[(counts == 0).any(axis=1)]
    if small.empty:
        return
    label = str(small.index[0])
    members = frame["label"] == label
    if not drawn or (set(splits) - set(drawn) and small.iloc[0]["train"] == 0):
        raise DataError(
            f"data.split.given: class {label!r} has {members.sum()} images, none of them in the "
            "training split; add some, exclude the class with data.where, or set "
            "data.split.given: ignore"
        )
    empty = " and ".join(name for name in needed if small.iloc[0][name] == 0)
    images = int(small.iloc[0].sum())
    drawn_from = members & pd.Series(splits, index=frame.index).isin(drawn)
    sizes = frame.loc[drawn_from, "group"].value_counts()
    groups = len(sizes)
    given = " in the training split" if set(splits) - set(drawn) else ""
    if column is not None:
        largest = ", ".join(f"{size:,}" for size in sizes.head(MAX_SIZES))
        raise DataError(
            f"data.split.group: class {label!r} has {images:,} images{given} in {groups:,} "
            f"group{'s' * (groups != 1)} of {column!r} ({'the largest of ' * (groups > MAX_SIZES)}"
            f"{largest} images), which leave none for the {empty} split; choose a column of "
            "smaller groups, or exclude the class with data.where or data.min_images_per_class"
        )
    exact_duplicates = f" ({groups} different ones)" if groups < images else ""
    raise DataError(
        f"data.split: class {label!r} has {images} images{given}{exact_duplicates}, too few for "
        f"the {empty} split; raise data.min_images_per_class or data.max_images"
    )
