"""`bench report --check`: a number that was altered by hand is found, in every format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.report.check import count_numbers, differences
from benchmark.report.formats import FORMATS
from tests.benchmark.conftest import StudyRun, run_bench


@pytest.mark.parametrize("form", FORMATS)
def test_each_altered_number_is_found_and_an_untouched_report_passes(
    form: str, tiny_study: StudyRun, tmp_path: Path
) -> None:
    path = tmp_path / f"report{FORMATS[form].suffix}"
    shared = ("report", "-c", "tiny.yaml")
    assert run_bench(tiny_study.folder, *shared, "-o", str(path)).code == 0
    whole = path.read_text()
    untouched = run_bench(tiny_study.folder, *shared, "--check", str(path))
    assert untouched.code == 0, untouched.out
    assert f"all {count_numbers(whole):,} numbers match the store" in untouched.out
    accuracy = re.search(r"\d\d\.\d\d|0\.\d{4,}", whole)
    assert accuracy is not None
    altered = whole[: accuracy.end() - 1] + ("1" if accuracy[0][-1] != "1" else "2")
    path.write_text(altered + whole[accuracy.end() :])
    result = run_bench(tiny_study.folder, *shared, "--check", str(path))
    assert result.code == 1
    line = whole[: accuracy.start()].count("\n") + 1
    assert f"line {line}: report has" in result.out
    assert f"store has {accuracy[0]}" in result.out


def test_a_line_that_was_taken_out_or_put_in_is_found() -> None:
    text = "# s\n\n| a | 1 |\n| b | 2 |\n| c | 3 |\n"
    (missing,) = differences(text.replace("| b | 2 |\n", ""), text)
    assert (missing.written, missing.derived) == ("", "| b | 2 |")
    (added,) = differences(text.replace("| c |", "| x | 9 |\n| c |"), text)
    assert (added.line, added.written) == (5, "| x | 9 |")


def test_only_what_differs_is_named() -> None:
    result = differences("a 1.50 b 2 c 3\n", "a 1.50 b 4 c 3")
    assert [(f.written, f.derived) for f in result] == [("2", "4")]


def test_a_long_line_with_many_changes_is_compared_at_once() -> None:
    """As those of a page with its figures inside."""
    ours = " ".join(str(number) for number in range(100_000))
    theirs = ours.replace("1", "7")
    (result,) = differences(ours, theirs)
    assert result.written.startswith("1")
