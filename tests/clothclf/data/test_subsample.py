"""Subsampling of a split data set."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clothclf.data.sources import Finding
from clothclf.data.subsample import subsampled
from clothclf.errors import DataError
from clothclf.settings import AtMostSettings, DataSettings

COUNTS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12)), min_size=2, max_size=5
)


def manifest(counts: list[tuple[int, int, int]]) -> pd.DataFrame:
    rows = [
        (f"{split}-{label}-{number}", f"class {label}", split)
        for label, by_split in enumerate(counts)
        for split, count in zip(("train", "valid", "test"), by_split, strict=True)
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=["id", "label", "split"])


def thin(frame: pd.DataFrame, **most: int) -> pd.DataFrame:
    return subsampled(frame, DataSettings(at_most=AtMostSettings(**most)), [])


@given(COUNTS, st.integers(5, 60))
def test_a_split_keeps_its_number_and_all_its_classes(
    counts: list[tuple[int, int, int]], most: int
) -> None:
    whole = manifest(counts)
    saved = thin(whole, train=most)
    train = saved[saved["split"] == "train"]
    assert len(train) == min(most, (whole["split"] == "train").sum())
    assert train["label"].nunique() == len(counts)


@given(COUNTS, st.integers(5, 60))
def test_other_splits_and_sides_stay(counts: list[tuple[int, int, int]], most: int) -> None:
    """Dropped images are in no other split, so that test images stay unseen."""
    whole = manifest(counts).set_index("id")
    saved = thin(whole.reset_index(), train=most).set_index("id")
    assert (saved["split"] == whole.loc[saved.index, "split"]).all()
    held_out = whole[whole["split"] != "train"].index
    assert set(held_out) <= set(saved.index)


@given(COUNTS, st.integers(5, 40), st.integers(0, 40))
def test_fewer_are_among_more(counts: list[tuple[int, int, int]], few: int, more: int) -> None:
    whole = manifest(counts)
    assert set(thin(whole, valid=few)["id"]) <= set(thin(whole, valid=few + more)["id"])


def test_each_class_is_kept_in_proportion() -> None:
    saved = thin(manifest([(200, 1, 1), (100, 1, 1)]), train=30)
    sizes = saved[saved["split"] == "train"]["label"].value_counts()
    assert sizes.to_dict() == {"class 0": 20, "class 1": 10}


def test_what_is_left_out_is_reported() -> None:
    findings: list[Finding] = []
    settings = DataSettings(at_most=AtMostSettings(train=10))
    subsampled(manifest([(20, 2, 2), (10, 2, 2)]), settings, findings)
    assert len(findings) == 20
    assert {finding.reason for finding in findings} == {"image beyond data.at_most"}


def test_fewer_images_than_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.at_most\.valid: 2 is fewer than its 3 classes"):
        thin(manifest([(5, 5, 5)] * 3), valid=2)
