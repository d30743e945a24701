"""Near-duplicate detection: copies of one photograph whose pixels differ.

Copies may be re-encoded, resized, brightened, shifted or cropped by a pixel or two, or slightly
recoloured. A perceptual hash proposes pairs, and a comparison of the images decides (`likeness`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from clothclf.data.atomic import json_sha256, write_text
from clothclf.data.audit.hashes import Candidates, hash_images, near
from clothclf.data.audit.image_difference import differences
from clothclf.data.checked import Images

MAX_BITS = 31
"""Maximum Hamming distance in bits, of 256: the PDQ authors' threshold for the same image."""
MAX_DIFFERENCE = 12.0
"""Maximum difference in the worst window, in levels of 0 to 255. Among 27,283 real product images,
all 60 inspected pairs below 10 and 19 of 24 between 10 and 12 were one photograph, and half of
those between 12 and 14 were not; from 16, unrelated groups are chained together."""
LOOKED_AT = 112
"""Side in pixels of the images compared to keep near-duplicates in one split. It is fixed, so that
studies with different image sizes have the same split."""
VERSION = 1
"""Increase when the same images would give different pairs."""
PAIRS_AT_ONCE = 1024

COLUMNS = ("first", "second", "bits", "difference")


def near_duplicate_groups(
    rows: pd.DataFrame, pixels: Images, cache: Path | None = None
) -> pd.Series[str]:
    """Return the group of each image: connected components of exact and near-duplicates.

    `rows` has one row per image, with its `pixel_hash` and its `pixel_row` in `pixels`,
    uint8 [images, size, size, 3]. A group is named by its smallest pixel hash, so that an image
    without near-duplicates has the same group as among exact duplicates. Pairs are cached in
    `cache`.
    """
    pairs = near_duplicate_pairs(rows, pixels, cache)
    names = sorted(set(rows["pixel_hash"]))
    index = {name: number for number, name in enumerate(names)}
    joined = _merge(
        np.arange(len(names)),
        pairs["first"].map(index).to_numpy(dtype=np.int64),
        pairs["second"].map(index).to_numpy(dtype=np.int64),
    )
    smallest = dict(zip(names, (names[number] for number in joined), strict=True))
    return rows["pixel_hash"].map(smallest)


def near_duplicate_pairs(
    rows: pd.DataFrame, pixels: Images, cache: Path | None = None
) -> pd.DataFrame:
    """Find pairs of near-duplicates, without exact duplicates, enough to connect every group.

    `first` and `second` are pixel hashes, `bits` the Hamming distance of the perceptual hashes (of
    256), and `difference` that of the images in levels of 0 to 255. Arguments are those of
    `near_duplicate_groups`.
    """
    # One image per set of exact duplicates, in an order independent of the rows' order.
    distinct = rows.drop_duplicates("pixel_hash").sort_values("pixel_hash")
    cached = _cache_path(distinct, pixels.shape[1], cache) if cache is not None else None
    if cached is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(cached.read_text("utf-8"))
            if entry["check"] == json_sha256(entry["pairs"]):
                again: pd.DataFrame = pd.DataFrame(entry["pairs"], columns=list(COLUMNS))
                return again
    pairs = _find(distinct, pixels)
    if cached is not None:
        values = pairs.to_numpy(dtype=object).tolist()
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_text(cached, json.dumps({"check": json_sha256(values), "pairs": values}) + "\n")
    return pairs


def _find(distinct: pd.DataFrame, pixels: Images) -> pd.DataFrame:
    indices = distinct["pixel_row"].to_numpy(dtype=np.int64)
    groups = np.arange(len(indices))
    hashes = hash_images(pixels, indices)
    names = distinct["pixel_hash"].to_numpy()
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    for candidates in near(hashes, MAX_BITS, groups):
        for some in _nearest_first(candidates):
            # Skip pairs already in one group: in a set of similar images, a few pairs connect all.
            some = some.some(groups[some.first] != groups[some.second])
            apart = differences(pixels, indices[some.first], indices[some.second], some.shift)
            same = apart <= MAX_DIFFERENCE
            if not same.any():
                continue
            pairs = some.some(same)
            groups[:] = _merge(groups, pairs.first, pairs.second)
            columns = (names[pairs.first], names[pairs.second], pairs.bits, apart[same].round(2))
            parts.append(pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))))
    table: pd.DataFrame = pd.concat(parts[1:] or parts).sort_values(
        ["difference", "first", "second"], ignore_index=True
    )
    return table


def _nearest_first(candidates: Candidates) -> list[Candidates]:
    order = np.argsort(candidates.bits, kind="stable")
    return [
        candidates.some(order[start : start + PAIRS_AT_ONCE])
        for start in range(0, len(order), PAIRS_AT_ONCE)
    ]


def _merge(
    groups: npt.NDArray[np.int64], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Merge the groups [n] of each pair; a group's number is the index of its first member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(groups)
    edges = coo_array(
        (np.ones(len(first), dtype=np.int8), (groups[first], groups[second])), shape=(count, count)
    )
    _, parts = connected_components(edges, directed=False)
    joined = parts[groups]
    _, leaders, inverse = np.unique(joined, return_index=True, return_inverse=True)
    numbers: npt.NDArray[np.int64] = leaders[inverse].astype(np.int64)
    return numbers


def _cache_path(distinct: pd.DataFrame, size: int, cache: Path) -> Path:
    text = "\n".join([str(VERSION), str(size), *distinct["pixel_hash"]])
    return cache / "near-duplicates" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
