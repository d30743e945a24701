"""Stratified, seeded splits into training, validation and test that keep groups on one side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pandas as pd

from clothclf.errors import DataError
from clothclf.settings import SplitSettings

SPLITS = ("train", "valid", "test")


def assign_splits(
    labels: pd.Series[str], groups: pd.Series[str], settings: SplitSettings
) -> list[str]:
    """Return the split of each picture.

    Within each class the shares are met to the nearest picture, as far as groups allow: pictures
    of one group go together, and a group whose pictures carry several labels counts for its
    most frequent one. The same input and seed give the same splits, whatever the row order.
    Raises DataError naming a class that is too small to have a picture in each split.
    """
    frame = pd.DataFrame({"label": labels.to_numpy(), "group": groups.to_numpy()})
    names, homes = frame["group"].tolist(), frame["label"].tolist()
    sizes = Counter(names)
    shares = (settings.train, settings.valid, settings.test)
    chosen: dict[str, str] = {}
    for position, (_, members) in enumerate(sorted(_groups_of(names, homes).items())):
        order = np.random.default_rng([settings.seed, position]).permutation(len(members))
        in_order = sorted(members)
        chosen |= _fill([in_order[index] for index in order], sizes, shares)
    splits = [chosen[group] for group in names]
    _check_filled(frame, splits)
    return splits


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


def _fill(groups: list[str], sizes: Mapping[str, int], shares: tuple[float, ...]) -> dict[str, str]:
    """Put shuffled groups, the large ones first, where the largest share is still wanted.

    A group goes where it fits; one that fits nowhere goes where most pictures are wanted.
    """
    total = sum(sizes[group] for group in groups)
    wanted = [round(total * share) for share in shares[1:]]
    wanted.insert(0, total - sum(wanted))
    chosen: dict[str, str] = {}
    for group in sorted(groups, key=lambda name: -sizes[name]):
        size = sizes[group]
        fitting = [place for place, want in enumerate(wanted) if want >= size]
        if fitting:
            target = max(fitting, key=lambda place: wanted[place] / shares[place])
        else:
            target = wanted.index(max(wanted))
        chosen[group] = SPLITS[target]
        wanted[target] -= size
    return chosen


def _check_filled(frame: pd.DataFrame, splits: list[str]) -> None:
    counts = pd.crosstab(frame["label"], pd.Series(splits, index=frame.index))
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    small = counts[(counts == 0).any(axis=1)]
    if len(small):
        label = str(small.index[0])
        empty = " and ".join(str(name) for name in SPLITS if small.iloc[0][name] == 0)
        pictures = int(small.iloc[0].sum())
        groups = frame.loc[frame["label"] == label, "group"].nunique()
        twins = f" ({groups} different ones)" if groups < pictures else ""
        raise DataError(
            f"data.split: class {label!r} has {pictures} pictures{twins}, too few to put any into "
            f"{empty}; raise data.min_images_per_class or data.max_images"
        )
