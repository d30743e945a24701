"""Groups of images that must not be separated: connected components, and splits of whole groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.settings import SplitSettings

GROUP = "group"
"""Manifest column with each image's value of `data.split.group`; only where it is set."""
NEAR_DUPLICATE_GROUP = "near_duplicate_group"
"""Manifest column with the smallest pixel hash among an image's near-duplicates; only where
`data.split.keep_near_duplicates_together` asks."""
GROUP_COLUMNS = (GROUP, NEAR_DUPLICATE_GROUP)
MAX_ORDERS = 20
"""Maximum number of further orders of groups that are tried to fill all splits of all classes."""


def connected(*columns: pd.Series[str]) -> npt.NDArray[np.int64]:
    """Number the connected components [n] of rows that share a value in any of the columns.

    Each column has its own values; empty text is shared with no other row.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, values, size = [], [], len(columns[0])
    for column in columns:
        numbers, distinct = pd.factorize(column)
        shared = np.flatnonzero(column.to_numpy() != "")
        rows.append(shared)
        values.append(numbers[shared] + size)
        size += len(distinct)
    ends = np.concatenate(rows), np.concatenate(values)
    links = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(size, size))
    _, parts = connected_components(links, directed=False)
    numbers_of_rows: npt.NDArray[np.int64] = parts[: len(columns[0])].astype(np.int64)
    return numbers_of_rows


def clusters(rows: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Number the clusters [n] of images: connected by exact duplicates and by `GROUP_COLUMNS`.

    `rows` has the column pixel_hash, and those of `GROUP_COLUMNS` that are known.
    """
    return connected(*(rows[name] for name in ("pixel_hash", *GROUP_COLUMNS) if name in rows))


def groups_to_split(rows: pd.DataFrame, split: SplitSettings) -> pd.Series[str]:
    """Return the group of each image; images of one group go to the same split.

    `rows` has the columns id and pixel_hash, and those of `GROUP_COLUMNS` that `split` asks for.
    """
    copies = rows["pixel_hash"] if split.keep_exact_duplicates_together else rows["id"]
    if split.keep_near_duplicates_together:
        copies = rows[NEAR_DUPLICATE_GROUP]
    if split.group is None:
        return copies
    return rows.groupby(connected(rows[GROUP], copies))[GROUP].transform("min")


def split_groups(
    labels: Sequence[str], groups: Sequence[str], seed: int, shares: Mapping[str, float]
) -> list[str]:
    """Return the split of each image; whole groups are split, stratified by class and seeded.

    `shares` are relative weights of the splits, training first. The groups are placed one by one,
    those with several labels first, then the largest, each where it most reduces the squared
    deviations of its classes from their shares. A class with no more groups left than it has empty
    splits fills these first. If one still lacks a split, other orders are tried. Where groups have
    one label, a class deviates by at most its largest group, unless few groups fill its splits.
    """
    content: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        content[group][label] += 1
    names = sorted(content)
    generator = np.random.default_rng(seed)
    order = [names[index] for index in generator.permutation(len(names))]
    order.sort(key=lambda name: (len(content[name]) == 1, -content[name].total()))
    first = chosen, unfilled = _assign(content, order, shares)
    for _ in range(MAX_ORDERS):
        if not unfilled:
            break
        order = [names[index] for index in generator.permutation(len(names))]
        chosen, unfilled = _assign(content, order, shares)
    if unfilled:
        chosen, _ = first
    return [chosen[group] for group in groups]


def _assign(
    content: Mapping[str, Counter[str]], order: Sequence[str], shares: Mapping[str, float]
) -> tuple[dict[str, str], bool]:
    """Place groups of labels in splits, in this order.

    Also returns whether a class lacks a split although it has as many groups as there are splits.
    """
    splits, total = list(shares), sum(shares.values())
    parts = [share / total for share in shares.values()]
    totals: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for own in content.values():
        totals.update(own)
        left.update(own.keys())
    held_out = {label: [round(n * part) for part in parts[1:]] for label, n in totals.items()}
    missing = {label: [totals[label] - sum(some), *some] for label, some in held_out.items()}
    # A class with fewer groups than splits cannot fill them.
    empty = {label: set(range(len(splits))) for label in totals if left[label] >= len(splits)}
    chosen: dict[str, str] = {}
    for group in order:
        own = content[group]
        urgent = [empty[name] for name in own if left[name] <= len(empty.get(name, ()))]
        costs = []
        for index, part in enumerate(parts):
            filled = sum(index in splits_missing for splits_missing in urgent)
            changes = (n * (n - 2 * missing[name][index]) / totals[name] for name, n in own.items())
            costs.append((-filled, sum(changes) / part))
        target = costs.index(min(costs))
        chosen[group] = splits[target]
        for name, count in own.items():
            missing[name][target] -= count
            left[name] -= 1
            empty.get(name, set()).discard(target)
    return chosen, any(empty.values())
