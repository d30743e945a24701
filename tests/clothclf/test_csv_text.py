"""CSV that bench writes: a spreadsheet shows every text and runs none, and nothing is lost."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clothclf.csv_text import csv_text, quoted, unquoted

FORMULAS = (
    "=cmd|'/C calc'!A0",
    "+1+cmd",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1",
    " =1+1",
    "\uff1d1+1",
)


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(text: str) -> None:
    assert quoted(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-", "-0.5", "+3", "-1e-5", "a=b", "'tis", "", "T-shirt", "1-2"])
def test_numbers_and_plain_texts_stay(text: str) -> None:
    assert quoted(text) == text


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("'=-+@ \t1.e\na"), max_size=6))
def test_each_text_is_read_back(text: str) -> None:
    header, row = csv.reader(io.StringIO(csv_text(["id", "n"], [[text, 1]]), newline=""))
    assert header == ["id", "n"]
    assert unquoted(row[0]) == text
