"""Stratified, seeded splits into training, validation and test that keep groups on one side.

Splits that a source gives are kept, and completed where one is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from clothclf.errors import DataError
from clothclf.settings import SplitSettings

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""How folders, files and columns name the three splits; capitals do not count."""


def assign_splits(
    labels: pd.Series[str],
    groups: pd.Series[str],
    settings: SplitSettings,
    given: pd.Series[str] | None = None,
) -> list[str]:
    """Return the split of each image.

    Within each class the shares are met to the nearest image, as far as groups allow: images
    of one group go together, and a group whose images carry several labels counts for its
    most frequent one. The same input and seed give the same splits, whatever the row order.
    Where splits are `given` (train, valid or test for every image), they are kept, and what is
    to be drawn (`drawn_splits`) is drawn in the same way from the images given to training.
    Raises DataError naming a class that is too small to have an image in each split.
    """
    frame = pd.DataFrame({"label": labels.to_numpy(), "group": groups.to_numpy()})
    splits = [""] * len(frame) if given is None else [str(split) for split in given]
    drawn = drawn_splits(splits)
    if drawn:
        pool = [place for place, split in enumerate(splits) if split in ("", "train")]
        shares = {name: getattr(settings, name) for name in drawn}
        chosen = _draw(frame.iloc[pool], settings.seed, shares)
        for place, split in zip(pool, chosen, strict=True):
            splits[place] = split
    _check_filled(frame, splits, drawn)
    return splits


def drawn_splits(given: Collection[str]) -> tuple[str, ...]:
    """The splits to draw where these are given: none, or training and each that is missing.

    Images that are all given to training are as good as given to none.
    """
    missing = tuple(name for name in SPLITS if name != "train" and name not in given)
    return ("train", *missing) if missing else ()


def _draw(frame: pd.DataFrame, seed: int, shares: Mapping[str, float]) -> list[str]:
    names, homes = frame["group"].tolist(), frame["label"].tolist()
    sizes = Counter(names)
    chosen: dict[str, str] = {}
    for position, (_, members) in enumerate(sorted(_groups_of(names, homes).items())):
        order = np.random.default_rng([seed, position]).permutation(len(members))
        in_order = sorted(members)
        chosen |= _fill([in_order[index] for index in order], sizes, shares)
    return [chosen[group] for group in names]


def _groups_of(groups: list[str], labels: list[str]) -> dict[str, list[str]]:
    """The groups of each label; a group with several labels belongs to its most frequent one."""
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
    """Put shuffled groups, the large ones first, where the largest share is still wanted.

    `shares`, of training first, count in proportion to each other. A group goes where it fits;
    one that fits nowhere goes where most images are wanted.
    """
    splits, parts = list(shares), list(shares.values())
    whole = sum(parts)
    # What should add up to 1, and does but for a rounding error, is left as it is.
    if abs(whole - 1) > 1e-6:
        parts = [part / whole for part in parts]
    total = sum(sizes[group] for group in groups)
    wanted = [round(total * part) for part in parts[1:]]
    wanted.insert(0, total - sum(wanted))
    chosen: dict[str, str] = {}
    for group in sorted(groups, key=lambda name: -sizes[name]):
        size = sizes[group]
        fitting = [place for place, want in enumerate(wanted) if want >= size]
        if fitting:
            target = max(fitting, key=lambda place: wanted[place] / parts[place])
        else:
            target = wanted.index(max(wanted))
        chosen[group] = splits[target]
        wanted[target] -= size
    return chosen


def _check_filled(frame: pd.DataFrame, splits: list[str], drawn: tuple[str, ...]) -> None:
    """Every class needs an image to train on, and one in each split that was drawn."""
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
            f"data.split.given: class {label!r} has {members.sum()} images, none of them given "
            "to training; give it some, leave the class out by data.where, or set "
            "data.split.given: ignore"
        )
    empty = " and ".join(name for name in needed if small.iloc[0][name] == 0)
    images = int(small.iloc[0].sum())
    drawn_from = members & pd.Series(splits, index=frame.index).isin(drawn)
    groups = frame.loc[drawn_from, "group"].nunique()
    given = " given to training" if set(splits) - set(drawn) else ""
    exact_duplicates = f" ({groups} different ones)" if groups < images else ""
    raise DataError(
        f"data.split: class {label!r} has {images} images{given}{exact_duplicates}, too few to put "
        f"any into {empty}; raise data.min_images_per_class or data.max_images"
    )
