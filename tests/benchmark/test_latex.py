"""LaTeX: the table that the other formats have, and nobody's text becomes a command."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.report.latex import escape
from benchmark.report.write import read_report
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.test_report_contents import fail, store_record, study_in


def test_every_row_has_the_columns_of_the_head(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 10**9))
    store_record(tmp_path, make_record(make_spec("b_0"), 0.7, 10**8))
    fail(tmp_path, make_spec("resnet18"), "why & how")
    text = read_report(study_in(tmp_path), Path("s.yaml")).text("latex")
    backbone = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in backbone.splitlines() if line.strip().endswith(r"\\")]
    assert len(rows) == 3
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert r"b\_0" in rows[2]
    assert "% resnet18-s0: failed in train: why & how" in text
    assert text.count("{") == text.count("}")


def test_a_comment_stays_a_comment_whatever_a_run_is_called(tmp_path: Path) -> None:
    """Names may hold every character that some system takes for the end of a line."""
    name = "x\n\r\x0b\x0c\x1c\x85\u2028\\input{y}"
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 10**9))
    fail(tmp_path, make_spec(name), f"why{name}")
    text = read_report(study_in(tmp_path), Path("s.yaml")).text("latex")
    result = [line for line in text.splitlines() if r"\input" in line]
    assert len(result) == 1
    assert result[0].startswith(r"  % x \input{y}-s0: failed")


def test_sentences_of_a_caption_are_apart(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec("vgg16"), 0.8, 10**9))
    report = read_report(study_in(tmp_path), Path("s.yaml"))
    pick = report.analyses[0].pick
    assert pick is not None
    assert f"loss. {escape(pick.sentence)}}}" in report.text("latex")


def test_text_is_never_a_command() -> None:
    assert escape(r"\input{x} 5% $a_b^c ~ #&") == (
        r"\textbackslash{}input\{x\} 5\% \$a\_b\textasciicircum{}c \textasciitilde{} \#\&"
    )
