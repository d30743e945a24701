"""Splits have exact fractions in every class, are reproducible, and keep groups together."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from clothclf.data.splits import SPLITS, assign_splits
from clothclf.errors import DataError
from clothclf.settings import SplitSettings

SEEDS = range(8)
PUBLISHED = SplitSettings()


def table(seed: int, max_group: int = 1) -> pd.DataFrame:
    """Five classes of 20 to 300 images, in groups of 1 to `max_group` of one label."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in "abcde":
        left = int(rng.integers(20, 300))
        while left > 0:
            size = min(left, int(rng.integers(1, max_group + 1)))
            rows += [(label, f"{label}{left}")] * size
            left -= size
    return pd.DataFrame(rows, columns=["label", "group"]).sample(frac=1, random_state=seed)


def split(frame: pd.DataFrame, settings: SplitSettings = PUBLISHED) -> list[str]:
    return assign_splits(frame["label"], frame["group"], settings)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shares", [(0.64, 0.16, 0.2), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1)])
def test_each_class_is_split_to_the_nearest_image(
    seed: int, shares: tuple[float, float, float]
) -> None:
    train, valid, test = shares
    frame = table(seed)
    got = split(frame, SplitSettings(train=train, valid=valid, test=test, seed=seed))
    counts = pd.crosstab(frame["label"].to_numpy(), np.array(got))
    for _, row in counts.iterrows():
        total = row.sum()
        assert abs(row["valid"] - total * valid) <= 0.5
        assert abs(row["test"] - total * test) <= 0.5
        assert abs(row["train"] - total * train) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_stay_together_and_shares_stay_near(seed: int) -> None:
    """With enough single images, groups of up to 4 do not affect the fractions."""
    frame = pd.concat([table(seed, max_group=4), table(seed + 100)], ignore_index=True)
    frame["group"] = frame["group"] + np.where(frame.index < len(frame) / 2, "x", "y")
    got = split(frame, SplitSettings(seed=seed))
    sides = frame.assign(split=got).groupby("group")["split"].nunique()
    assert (sides == 1).all()
    counts = pd.crosstab(frame["label"], pd.Series(got, index=frame.index))
    for _, row in counts.iterrows():
        assert abs(row["test"] - row.sum() * 0.2) <= 1
        assert abs(row["valid"] - row.sum() * 0.16) <= 1


def test_a_large_group_goes_where_it_fits() -> None:
    """A group of half a class goes to training, the only split with room for it."""
    groups = ["big"] * 11 + [f"g{number}" for number in range(11)]
    frame = pd.DataFrame({"label": ["a"] * 22, "group": groups})
    for seed in SEEDS:
        got = split(frame, SplitSettings(seed=seed))
        assert set(got[:11]) == {"train"}
        assert Counter(got) == {"train": 14, "valid": 4, "test": 4}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_row_order_changes_nothing(seed: int) -> None:
    frame = table(seed, max_group=3)
    shuffled = frame.sample(frac=1, random_state=seed + 1)
    first = dict(zip(frame["group"], split(frame), strict=True))
    second = dict(zip(shuffled["group"], split(shuffled), strict=True))
    assert first == second


def test_the_seed_decides() -> None:
    frame = table(0)
    splits = [tuple(split(frame, SplitSettings(seed=seed))) for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_a_group_with_two_labels_stays_together_with_the_more_frequent() -> None:
    """The group is not divided, and counts for one class only."""
    rows = [(label, f"{label}{number}") for label in "ab" for number in range(40)]
    frame = pd.DataFrame([*rows, ("a", "ab"), ("a", "ab"), ("b", "ab")])
    frame.columns = ["label", "group"]
    for seed in SEEDS:
        got = split(frame, SplitSettings(seed=seed))
        assert len(set(got[-3:])) == 1
        sides = defaultdict(int)
        for group, side in zip(frame["group"], got, strict=True):
            sides[group[0], side] += 1
        assert sides["b", "test"] == 8  # of b's own 40; the conflict counts for a


def test_a_class_too_small_for_three_sides_is_named() -> None:
    rows = [("big", f"b{number}") for number in range(50)] + [("tiny", "t1"), ("tiny", "t2")]
    frame = pd.DataFrame(rows, columns=["label", "group"])
    with pytest.raises(DataError, match="class 'tiny' has 2 images, too few for the"):
        split(frame)


def test_a_class_of_one_exact_duplicate_group_says_so() -> None:
    frame = pd.DataFrame({"label": ["a"] * 9, "group": ["same"] * 9})
    with pytest.raises(DataError, match=r"class 'a' has 9 images \(1 different ones\)"):
        split(frame)


def test_four_images_are_enough() -> None:
    frame = pd.DataFrame({"label": ["a"] * 4, "group": list("wxyz")})
    assert Counter(split(frame)) == {"train": 2, "valid": 1, "test": 1}
    assert set(SPLITS) == set(split(frame))


# Given splits


def given_split(
    frame: pd.DataFrame, given: list[str], settings: SplitSettings = PUBLISHED
) -> list[str]:
    return assign_splits(frame["label"], frame["group"], settings, pd.Series(given))


def test_given_splits_are_kept_as_they_are() -> None:
    """Exact duplicates across given splits are reported, not moved."""
    frame = table(0, max_group=5)
    given = np.random.default_rng(0).choice(SPLITS, len(frame)).tolist()
    assert given_split(frame, given) == given


@pytest.mark.parametrize("missing", ["valid", "test"])
def test_a_missing_split_is_drawn_from_training(missing: str) -> None:
    """In proportion to the two fractions, in every class, and groups stay together."""
    frame = table(1, max_group=3)
    other = ({"valid", "test"} - {missing}).pop()
    held = frame["group"].map({g: i % 5 == 0 for i, g in enumerate(frame["group"].unique())})
    given = [other if is_held else "train" for is_held in held]
    splits = pd.Series(given_split(frame, given), index=frame.index)
    assert (splits[held.to_numpy()] == other).all()
    drawn = frame.assign(split=splits)[~held.to_numpy()]
    assert set(drawn["split"]) == {"train", missing}
    assert drawn.groupby("group")["split"].nunique().max() == 1
    share = getattr(PUBLISHED, missing) / (PUBLISHED.train + getattr(PUBLISHED, missing))
    for _, members in drawn.groupby("label"):
        assert abs((members["split"] == missing).sum() - share * len(members)) <= 1


def test_all_given_to_training_is_drawn_as_if_nothing_were() -> None:
    frame = table(2)
    assert given_split(frame, ["train"] * len(frame)) == split(frame)


def test_a_class_that_is_not_given_to_training_is_refused() -> None:
    frame = pd.DataFrame({"label": list("aaaaabbb"), "group": list("12345678")})
    for given in (
        ["train", "valid", "test", "train", "train", "valid", "test", "test"],
        ["train", "train", "train", "train", "test", "test", "test", "test"],
        ["test"] * 8,
    ):
        with pytest.raises(
            DataError, match=r"class '[ab]' has [35] images, none of them in the training"
        ):
            given_split(frame, given)


def test_a_class_may_lack_a_split_that_is_given() -> None:
    frame = pd.DataFrame({"label": list("aaabb"), "group": list("12345")})
    given = ["train", "valid", "test", "train", "valid"]
    assert given_split(frame, given) == given


def test_a_class_too_small_to_draw_from_is_refused() -> None:
    frame = pd.DataFrame({"label": list("aaaaaabb"), "group": list("12345678")})
    given = ["train"] * 5 + ["test", "train", "test"]
    with pytest.raises(DataError, match="class 'b' has 1 images in the training split, too few"):
        given_split(frame, given)
