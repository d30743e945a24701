"""The pick under the user's own limits: what fits, what is tied, and what would change it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.report.analysis import Analysis, analyse
from benchmark.report.collect import collect
from benchmark.report.columns import COLUMNS, pareto_front
from benchmark.report.pick import Criteria
from benchmark.report.write import read_report
from benchmark.tracking.run_fields import final_metrics
from clothclf.results import MeasuredCost
from tests.benchmark.answered import draw_answers, draw_pictures, keep_answers
from tests.benchmark.examples import make_measured
from tests.benchmark.test_report_contents import study_in

PICTURES = draw_pictures(1000, ("a", "b"))


def finish(root: Path, name: str, right: int, macs: int, measured: MeasuredCost) -> None:
    """Keep a run that answers the first so many of 1,000 images rightly."""
    answers = draw_answers(PICTURES.targets, np.arange(1000) < right, 2)
    keep_answers(root, PICTURES, answers, name, macs, measured)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Of 1,000 images: large 95.0 %, middle 94.8 % at a tenth, small 80 % at a hundredth."""
    rows = (("large", 950, 10_000, 40.0), ("middle", 948, 1000, 20.0), ("small", 800, 100, 1.0))
    for name, right, million_macs, latency_ms in rows:
        finish(tmp_path, name, right, million_macs * 10**6, make_measured(latency_ms))
    return tmp_path


def analysed(store: Path, criteria: Criteria) -> Analysis:
    return analyse(collect(study_in(store), store).comparisons[0], store, criteria)


def picked(store: Path, **limits: object) -> str | None:
    pick = analysed(store, Criteria(**limits)).pick  # type: ignore[arg-type]
    assert pick is not None
    return pick.trade_off.name if pick.trade_off else None


def test_a_tie_is_said_with_its_p_and_its_price(store: Path) -> None:
    pick = analysed(store, Criteria()).pick
    assert pick is not None
    assert pick.trade_off is not None
    assert pick.trade_off.name == "middle"
    # Two images of 1,000 are right with one alone: 2 x 1/4.
    assert "middle is tied with large (p = 0.50), 0.20 points below its" in pick.sentence
    assert "with 1/10 of the MACs" in pick.sentence


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "middle"),
        ({"prefer": "accuracy"}, "middle"),  # tied with the most accurate, and cheaper
        ({"prefer": "speed"}, "middle"),
        ({"max_gmacs": 0.5}, "small"),
        ({"max_params": 1.0}, "small"),
        ({"max_latency_ms": 5.0}, "small"),
        ({"max_gmacs": 0.5, "min_accuracy": 0.9}, None),
        ({"min_accuracy": 0.949}, "large"),
    ],
)
def test_limits_and_preferences_decide(
    limits: dict[str, object], expected: str | None, store: Path
) -> None:
    assert picked(store, **limits) == expected


def test_where_nothing_fits_the_closest_is_named(store: Path) -> None:
    pick = analysed(store, Criteria(max_gmacs=0.5, min_accuracy=0.9)).pick
    assert pick is not None
    assert pick.trade_off is None
    assert pick.sentence == (
        "No architecture meets the criteria (at most 0.5 GMACs and at least 90 % accuracy); the "
        "closest is small with 80 in test accuracy (%)."
    )


def test_the_price_at_which_the_pick_flips_is_where_both_are_worth_the_same(store: Path) -> None:
    pick = analysed(store, Criteria()).pick
    assert pick is not None
    # 14.8 points for a factor of 10 down to small, 0.2 for a factor of 10 up to large.
    assert "to small if each 10x increase had to gain more than 14.80 points" in pick.sensitivity
    assert "to large if each 10x increase had to gain less than 0.20 points" in pick.sensitivity
    assert "to large if it were 1.80 points more accurate" in pick.sensitivity


def test_limits_that_cost_the_pick_are_said(store: Path) -> None:
    pick = analysed(store, Criteria(max_gmacs=0.5)).pick
    assert pick is not None
    assert "to middle without these limits" in pick.sensitivity


def test_a_disturbed_latency_is_not_ranked(store: Path) -> None:
    """Nor does it, under other conditions, keep the others from being ranked."""
    busy = dataclasses.replace(make_measured(0.1, busy="others used 1.0 of 2 cores"), threads=1)
    finish(store, "disturbed", 949, 10**9, busy)
    pick = analysed(store, Criteria(prefer="speed")).pick
    assert pick is not None
    assert pick.trade_off is not None
    assert pick.trade_off.name == "middle"
    assert "excluding disturbed with unknown latency (each 10x increase in latency" in pick.sentence
    assert picked(store, max_latency_ms=0.5) is None


def test_a_disturbed_latency_stands_in_the_table_alone(store: Path) -> None:
    """Marked there; neither in the pick's tiles nor among MLflow's metrics."""
    for name in ("large", "small"):
        shutil.rmtree(next((store / "runs" / "s").glob(f"{name}-s0*")))
    finish(store, "middle", 948, 10**9, make_measured(31.25, busy="others used 1.0 of 2 cores"))
    report = read_report(study_in(store, "middle"), Path("s.yaml"))
    page, markdown = report.text("html"), report.text("md")
    assert "<dt>latency</dt>" not in page
    assert page.count("31.2 ms") == page.count("31.2 ms<small>machine busy") + page.count("(busy)")
    assert markdown.count("31.2 ms") == markdown.count("31.2 ms (busy)") == 1
    assert "these values are not ranked: middle." in markdown
    (row,) = report.analyses[0].rows
    assert not [name for name in final_metrics(row.records[0]) if name.startswith("speed/")]


def test_latency_of_an_idle_machine_is_a_tile(store: Path) -> None:
    page = read_report(study_in(store, "middle"), Path("s.yaml")).text("html")
    assert "<dt>latency</dt>" in page


def test_latencies_of_different_devices_are_not_compared(store: Path) -> None:
    other = make_measured(0.1).__class__(**{**vars(make_measured(0.1)), "device": "a GPU"})
    finish(store, "elsewhere", 600, 10**9, other)
    pick = analysed(store, Criteria(prefer="speed")).pick
    assert pick is not None
    assert "by accuracy alone: latency cannot be compared" in pick.sentence


def test_the_front_is_of_any_two_columns(store: Path) -> None:
    rows = analysed(store, Criteria()).rows
    by_latency = pareto_front(rows, COLUMNS["accuracy"], COLUMNS["latency"])
    assert [row.name for row in by_latency] == ["small", "middle", "large"]
    fastest = pareto_front(rows, COLUMNS["throughput"], COLUMNS["macs"])
    assert [row.name for row in fastest] == ["small"]
