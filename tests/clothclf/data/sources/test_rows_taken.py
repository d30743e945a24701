"""Row selection by filters, labels and splits, the same for every source."""

from __future__ import annotations

from collections import Counter

import pytest

from clothclf.data.sources import selection
from clothclf.data.sources.listing import Listing, Query, as_text
from clothclf.data.sources.selection import Chosen, choose
from clothclf.errors import DataError

IDS = ("1", "2", "3", "4")


def taken(
    labels: str = "a b a b", where: dict[str, tuple[str, ...]] | None = None, **columns: str
) -> Chosen:
    texts = {name: text.split() for name, text in {"kind": labels, **columns}.items()}
    expected = Query("kind", where or {}, "split" if "split" in columns else None)
    chosen = choose(Listing(IDS, texts), expected, "data")
    assert chosen.rows_read == len(chosen.rows) + len(chosen.findings)
    return chosen


def reasons(chosen: Chosen) -> Counter[str]:
    return Counter(finding.reason for finding in chosen.findings)


def test_a_row_needs_one_of_the_values_in_every_filter() -> None:
    where = {"season": ("summer", "fall"), "year": ("2012",)}
    chosen = taken(where=where, season="summer fall winter summer", year="2012 2012 2012 2013")
    assert chosen.rows["id"].tolist() == ["1", "2"]
    assert reasons(chosen) == {selection.FILTERED: 2}


def test_the_label_can_be_filtered_by() -> None:
    assert taken(where={"kind": ("a",)}).rows["id"].tolist() == ["1", "3"]


def test_a_value_that_no_row_has_is_reported_with_near_ones() -> None:
    with pytest.raises(
        DataError, match=r"no row has 'sumer' in column 'season' \(did you mean summer\?\); .* 3"
    ):
        taken(where={"season": ("sumer",)}, season="summer summer summer fall")


def test_filters_that_leave_nothing_together_are_reported() -> None:
    where = {"season": ("summer",), "year": ("2013",)}
    with pytest.raises(DataError, match="no row has season summer and year 2013; widen"):
        taken(where=where, season="summer fall fall fall", year="1 2013 2 3")


@pytest.mark.parametrize("text", ["NaN", "nan", "<NA>", "NULL"])
def test_what_programs_write_for_no_value_is_no_label(text: str) -> None:
    chosen = taken(f"a b a {text}")
    assert reasons(chosen) == {selection.NO_LABEL: 1}


def test_splits_are_known_by_all_their_names() -> None:
    rows = taken(split="Training val TEST dev").rows
    assert rows["split"].tolist() == ["train", "valid", "test", "valid"]


def test_rows_with_no_split_or_an_unknown_one_are_left_out() -> None:
    chosen = choose(
        Listing(IDS, {"kind": list("abab"), "split": ["train", "test", "extra", ""]}),
        Query("kind", {}, "split"),
        "data",
    )
    assert chosen.rows["id"].tolist() == ["1", "2"]
    assert reasons(chosen) == {selection.UNKNOWN_SPLIT: 1, selection.NO_SPLIT: 1}


def test_all_given_to_training_is_no_split() -> None:
    """Many data sets of the hub have only a training file: there is no split to keep."""
    assert set(taken(split="train train extra train").rows["split"]) == {""}


def test_a_column_without_any_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"column 'split' contains no split.*: x 3, y 1"):
        taken(split="x y x x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (3.0, "3"),
        (2.5, "2.5"),
        (7, "7"),
        (True, "True"),
        (" a ", "a"),
    ],
)
def test_values_of_any_kind_become_text(value: object, text: str) -> None:
    assert as_text(value) == text
