"""Benchmarks are not run here; that they divide rightly and write only their own part, is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.performance.cases import CASES
from tests.performance.harness import PAGE, Ratio, Row, compare, ratio_of, write_part

PART = "before\n<!-- begin a -->\nold\n<!-- end a -->\n<!-- begin b -->\nb\n<!-- end b -->\n"


def test_the_ratio_is_of_each_round_and_its_spread_is_reported() -> None:
    result = ratio_of([(10.0, 2.0), (9.0, 3.0), (8.0, 2.0)])
    assert result == Ratio(median=4.0, lowest=3.0, highest=5.0)
    assert str(result) == "4.00 (3.00 to 5.00)"


def test_the_two_sides_take_turns() -> None:
    turns: list[str] = []

    def side(name: str, seconds: float) -> float:
        turns.append(name)
        return seconds

    compare(lambda: side("slow", 2.0), lambda: side("fast", 1.0), rounds=2)
    assert turns == ["slow", "fast"] * 2


def test_a_case_writes_its_own_part_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PART)
    write_part("a", [Row("x against y", "2.00", "at least 1")], page)
    text = page.read_text()
    assert "| x against y | 2.00 | at least 1 |" in text
    assert "old" not in text
    assert text.startswith("before\n<!-- begin a -->\n")
    assert text.endswith(PART[PART.index("<!-- end a -->") :])
    with pytest.raises(SystemExit, match="no part for c"):
        write_part("c", [], page)


def test_every_case_has_its_part_of_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert all(
        f"<!-- begin {name} -->" in text and f"<!-- end {name} -->" in text for name in CASES
    )
