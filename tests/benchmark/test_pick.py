"""The pick under the user's own limits: what fits, how sure it is, and what would change it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.report.analysis import Analysis, analyse
from benchmark.report.collect import Comparison, collect
from benchmark.report.columns import COLUMNS, pareto_front
from benchmark.report.pick import Pick, choose_pick
from benchmark.report.pick_rule import Criteria
from benchmark.report.rows import Row, make_rows
from benchmark.report.write import read_report
from benchmark.tracking.run_fields import final_metrics
from benchmark.workflows.publish import pick_figures, pick_note
from clothclf.results import MeasuredCost
from tests.benchmark.examples import make_measured, make_record, make_spec
from tests.benchmark.predicted_runs import (
    DrawnImages,
    draw_predictions,
    draw_test_set,
    store_predicted_run,
)
from tests.benchmark.test_report_contents import study_in

IMAGES = draw_test_set(1000, ("a", "b"))


def finish(root: Path, name: str, right: int, macs: int, measured: MeasuredCost) -> None:
    """Keep a run that answers the first so many of 1,000 images rightly."""
    predictions = draw_predictions(IMAGES.targets, np.arange(1000) < right, 2)
    store_predicted_run(root, IMAGES, predictions, name, macs, measured)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Of 1,000 images: large 95.0 %, middle 94.8 % at a tenth, small 80 % at a hundredth."""
    rows = (("large", 950, 10_000, 40.0), ("middle", 948, 1000, 20.0), ("small", 800, 100, 1.0))
    for name, right, million_macs, latency_ms in rows:
        finish(tmp_path, name, right, million_macs * 10**6, make_measured(latency_ms))
    return tmp_path


def analysed(store: Path, criteria: Criteria) -> Analysis:
    return analyse(collect(study_in(store), store).comparisons[0], store, criteria)


def pick_of(store: Path, **limits: Any) -> Pick:
    pick = analysed(store, Criteria(**limits)).pick
    assert pick is not None
    return pick


def picked(store: Path, **limits: Any) -> str | None:
    pick = pick_of(store, **limits)
    return pick.chosen.name if pick.chosen else None


def test_the_pick_is_one_sentence_with_its_evidence_and_price(store: Path) -> None:
    """Two images of 1,000 separate large and middle, which is not significant."""
    pick = pick_of(store)
    assert pick.sentence == (
        "Pick middle: 0.2 points below large (95 % CI -0.1 to 0.5, equivalent within 1 point), "
        "10x fewer MACs, 2.0x lower latency."
    )
    assert pick.runner_up_sentence == (
        "Runner-up by the same rule on validation: large, on test 0.2 points above middle "
        "(95 % CI -0.1 to 0.5, equivalent within 1 point), 10x more MACs, 2.0x higher latency."
    )
    assert pick.rule == "Rule: highest validation accuracy less 2 points for each 10x of MACs."


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, "middle"),
        ({"prefer": "accuracy"}, "large"),
        ({"prefer": "speed"}, "middle"),
        ({"prefer": "speed", "max_drop": 0.1}, "large"),
        ({"prefer": "size", "max_drop": 15.0}, "small"),
        ({"points_per_10x": 0.1}, "large"),
        ({"cost": "latency", "points_per_10x": 12.0}, "small"),
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


def test_the_most_accurate_is_picked_with_its_runner_up(store: Path) -> None:
    pick = pick_of(store, prefer="accuracy")
    assert pick.sentence == ("Pick large: the most accurate of 3 on validation, 95.0 % on test.")
    assert pick.runner_up_sentence.startswith(
        "Runner-up by the same rule on validation: middle, on test 0.2 points below large"
    )


def test_where_nothing_fits_the_closest_is_named(store: Path) -> None:
    pick = pick_of(store, max_gmacs=0.5, min_accuracy=0.9)
    assert pick.chosen is None
    assert pick.sentence == (
        "No architecture meets the criteria (at most 0.5 GMACs and at least 90 % validation "
        "accuracy); the closest is small with 80 in validation accuracy (%)."
    )


def test_the_price_at_which_the_pick_flips_is_where_both_are_worth_the_same(store: Path) -> None:
    # 14.8 points for a factor of 10 down to small, 0.2 for a factor of 10 up to large.
    sensitivity = pick_of(store).sensitivity
    assert "to small at more than 14.80 points for each 10x" in sensitivity
    assert "to large at less than 0.20 points for each 10x" in sensitivity
    assert "to large if it were 1.80 points more accurate" in sensitivity


def test_the_drop_at_which_the_pick_flips_is_said(store: Path) -> None:
    assert pick_of(store, prefer="speed").sensitivity == (
        "The pick would change to small if a drop of 15.00 points were acceptable; to large if a "
        "drop of 0.20 points were too much."
    )


def test_mlflow_gets_the_pick_in_words_and_figures(store: Path) -> None:
    analysis = analysed(store, Criteria())
    assert analysis.pick is not None
    note, figures = pick_note(analysis), pick_figures(analysis)
    assert note.startswith(f"**{analysis.pick.sentence}**\n\n")
    chosen = analysis.pick.chosen
    assert chosen is not None
    assert chosen.macs is not None
    assert figures["pick/test_accuracy"] == chosen.accuracy
    assert figures["pick/gmacs"] == chosen.macs / 1e9
    assert set(figures) <= {"pick/test_accuracy", "pick/gmacs", "pick/latency_ms", "pick/mparams"}


def test_limits_that_cost_the_pick_are_said(store: Path) -> None:
    assert "to middle without these limits" in pick_of(store, max_gmacs=0.5).sensitivity


def test_a_disturbed_latency_is_not_ranked(store: Path) -> None:
    """Nor does it, under other conditions, keep the others from being ranked."""
    busy = dataclasses.replace(make_measured(0.1, busy="others used 1.0 of 2 cores"), threads=1)
    finish(store, "disturbed", 949, 10**9, busy)
    pick = pick_of(store, prefer="speed")
    assert pick.chosen is not None
    assert pick.chosen.name == "middle"
    assert "excludes disturbed with unknown latency" in pick.rule
    assert picked(store, max_latency_ms=0.5) is None


def test_a_disturbed_latency_stands_in_the_table_alone(store: Path) -> None:
    """Marked there; neither in the pick's tiles nor among MLflow's metrics."""
    for name in ("large", "small"):
        shutil.rmtree(next((store / "runs" / "s").glob(f"{name}-s0*")))
    finish(store, "middle", 948, 10**9, make_measured(31.25, busy="others used 1.0 of 2 cores"))
    report = read_report(study_in(store, "middle"), Path("s.yaml"))
    page, markdown = report.text("html"), report.text("md")
    assert "<dt>latency</dt>" not in page
    assert page.count("31.2 ms") == page.count("31.2 ms <small>machine busy") + page.count("(busy)")
    assert markdown.count("31.2 ms") == markdown.count("31.2 ms (busy)") == 1
    assert "these values are not ranked: middle." in markdown
    (row,) = report.analyses[0].rows
    assert not [name for name in final_metrics(row.records[0]) if name.startswith("speed/")]


def test_latency_of_an_idle_machine_is_a_tile(store: Path) -> None:
    page = read_report(study_in(store, "middle"), Path("s.yaml")).text("html")
    assert "<dt>latency</dt>" in page


def test_latencies_of_different_devices_are_not_compared(store: Path) -> None:
    other = dataclasses.replace(make_measured(0.1), device="a GPU")
    finish(store, "elsewhere", 600, 10**9, other)
    pick = pick_of(store, prefer="speed")
    assert pick.chosen is not None
    assert pick.chosen.name == "middle"
    assert pick.rule == (
        "Rule: fewest MACs among those at most 2 points less accurate on validation than the best, "
        "since latency cannot be compared."
    )


def store_with_validation(
    root: Path, rights: dict[str, tuple[int, int]], valid: DrawnImages
) -> None:
    """Runs with so many correct validation and test answers, the same images for each."""
    for number, (name, (valid_right, right)) in enumerate(rights.items()):
        predictions = draw_predictions(IMAGES.targets, np.arange(1000) < right, 2)
        on_valid = np.arange(len(valid.ids)) < valid_right
        shares = draw_predictions(valid.targets, on_valid, 2)
        store_predicted_run(
            root, IMAGES, predictions, name, 10 ** (9 - number), valid=(valid, shares)
        )


def validation_images(count: int) -> DrawnImages:
    created = draw_test_set(count, ("a", "b"), seed=7)
    return dataclasses.replace(created, ids=tuple(f"v{image}" for image in created.ids))


def test_validation_chooses_and_test_is_read_out(tmp_path: Path) -> None:
    store_with_validation(tmp_path, {"a": (900, 880), "b": (850, 890)}, validation_images(1000))
    pick = pick_of(tmp_path, prefer="accuracy")
    assert pick.sentence == "Pick a: the most accurate of 2 on validation, 88.0 % on test."
    assert pick.notes[1:] == ("Test accuracies would have picked b.",)
    on_test = pick_of(tmp_path, prefer="accuracy", choose_on="test")
    assert on_test.sentence == "Pick b: the most accurate of 2, 89.0 % on test."
    assert "Chosen on the test split" in on_test.notes[-1]


def test_another_runner_up_on_test_is_named(tmp_path: Path) -> None:
    rights = {"a": (900, 890), "b": (850, 840), "c": (800, 870)}
    store_with_validation(tmp_path, rights, validation_images(1000))
    pick = pick_of(tmp_path, prefer="accuracy")
    assert pick.runner_up is not None
    assert pick.runner_up.name == "b"
    assert pick.runner_up_sentence.endswith(" By test accuracy, the runner-up would be c.")


def test_a_choice_that_other_validation_images_would_change_is_undecided(tmp_path: Path) -> None:
    few, many = validation_images(100), validation_images(5000)
    store_with_validation(tmp_path / "few", {"a": (82, 850), "b": (80, 840)}, few)
    store_with_validation(tmp_path / "many", {"a": (4500, 900), "b": (4000, 800)}, many)
    (note,) = pick_of(tmp_path / "few", prefer="accuracy").notes
    assert note.startswith("Undecided: resampled validation sets of 100 images pick a in ")
    assert re.search(r"b in \d+ %; about \d+ validation images would decide\.", note)
    assert pick_of(tmp_path / "many", prefer="accuracy").notes == (
        "Decided for these runs: resampled validation sets of 5,000 images pick a in 100 %.",
    )


def test_damaged_validation_predictions_are_not_used(tmp_path: Path) -> None:
    store_with_validation(tmp_path, {"a": (82, 850), "b": (80, 840)}, validation_images(100))
    path = next((tmp_path / "runs" / "s").glob("a-s0*")) / "predictions_valid.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    analysis = analysed(tmp_path, Criteria(prefer="accuracy"))
    assert analysis.pick is not None
    assert analysis.pick.notes == ()
    assert any("predictions_valid.parquet: has changed" in note for note in analysis.notes)


def test_the_published_table_is_picked_as_published() -> None:
    """Accuracy, MACs and parameters that the original study published."""
    rows = [
        made_row("vgg16", 0.8688, 3.9, 135.3),
        made_row("efficientnet_b0", 0.8428, 0.1, 4.0),
        made_row("densenet121", 0.8312, 0.7, 6.9),
    ]
    expected = {
        "accuracy": "vgg16",
        "balance": "efficientnet_b0",
        "speed": "efficientnet_b0",
        "size": "efficientnet_b0",
    }
    for prefer, name in expected.items():
        criteria = Criteria(prefer=prefer, max_drop=3.0)  # type: ignore[arg-type]
        pick = choose_pick(rows, criteria)
        assert pick is not None
        assert pick.chosen is not None
        assert pick.chosen.architecture == name, prefer


# Properties over random tables

ROWS = st.lists(
    st.tuples(
        st.integers(1, 1000),
        st.integers(1, 1000),
        st.floats(0.01, 100),
        st.floats(0.1, 500),
        st.one_of(st.none(), st.floats(0.1, 500)),
    ),
    min_size=1,
    max_size=12,
)
"""Test and validation accuracy in thousandths, GMACs, million parameters, latency."""
PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)


def made_row(
    name: str,
    accuracy: float,
    gmacs: float,
    params: float,
    latency: float | None = None,
    valid: float | None = None,
) -> Row:
    measured = None if latency is None else make_measured(latency)
    record = make_record(make_spec(name), accuracy, round(gmacs * 1e9), measured)
    assert record.cost is not None
    cost = dataclasses.replace(record.cost, params=round(params * 1e6))
    (epoch,) = record.training.epochs
    epochs = (dataclasses.replace(epoch, valid_accuracy=accuracy if valid is None else valid),)
    training = dataclasses.replace(record.training, epochs=epochs)
    record = record.model_copy(update={"cost": cost, "training": training})
    (row,) = make_rows(Comparison([record], [], []))
    return row


def table_of(drawn: list[tuple[int, int, float, float, float | None]]) -> list[Row]:
    return [
        made_row(f"a{number}", test / 1000, gmacs, params, latency, valid / 1000)
        for number, (test, valid, gmacs, params, latency) in enumerate(drawn)
    ]


def chosen_of(rows: list[Row], **criteria: Any) -> Row | None:
    pick = choose_pick(rows, Criteria(**criteria))
    assert pick is not None
    return pick.chosen


@PROPERTY
@given(ROWS, st.one_of(st.none(), st.floats(0.01, 100)))
def test_accuracy_never_picks_a_less_accurate_one(drawn: Any, max_gmacs: float | None) -> None:
    rows = table_of(drawn)
    chosen = chosen_of(rows, prefer="accuracy", max_gmacs=max_gmacs)
    eligible = [row for row in rows if max_gmacs is None or (row.macs or 0) <= max_gmacs * 1e9]
    assert (chosen is None) == (not eligible)
    if chosen is not None:
        assert chosen in eligible
        assert chosen.valid_accuracy == max(row.valid_accuracy for row in eligible)


@PROPERTY
@given(ROWS, st.sampled_from(["speed", "size"]), st.floats(0, 30))
def test_speed_and_size_pick_the_cheapest_within_the_drop(
    drawn: Any, prefer: str, max_drop: float
) -> None:
    rows = table_of(drawn)
    chosen = chosen_of(rows, prefer=prefer, max_drop=max_drop)
    assert chosen is not None
    key = "params" if prefer == "size" else "latency"
    known = [row for row in rows if COLUMNS[key].of(row) is not None]
    if not known:
        key, known = "macs", rows
    best = max(row.valid_accuracy for row in known)
    within = [row for row in known if row.valid_accuracy >= best - max_drop / 100 - 1e-9]
    assert chosen in within
    assert COLUMNS[key].of(chosen) == min(COLUMNS[key].of(row) or 0 for row in within)


@PROPERTY
@given(ROWS, st.sampled_from(["balance", "accuracy", "speed", "size"]), st.floats(0.01, 100))
def test_a_limit_is_never_exceeded(drawn: Any, prefer: str, limit: float) -> None:
    rows = table_of(drawn)
    by_macs = chosen_of(rows, prefer=prefer, max_gmacs=limit)
    assert by_macs is None or (by_macs.macs or 0) <= limit * 1e9 * (1 + 1e-9)
    by_latency = chosen_of(rows, prefer=prefer, max_latency_ms=limit)
    assert by_latency is None or (COLUMNS["latency"].of(by_latency) or 1e9) <= limit


@PROPERTY
@given(ROWS, st.sampled_from(["balance", "accuracy", "speed", "size"]), st.data())
def test_a_dominated_architecture_changes_nothing(drawn: Any, prefer: str, data: Any) -> None:
    rows = table_of(drawn)
    before = chosen_of(rows, prefer=prefer)
    test, valid, gmacs, params, latency = data.draw(st.sampled_from(drawn))
    worse = (test - 1, valid - 1, gmacs * 1.1, params * 1.1, latency and latency * 1.1)
    place = data.draw(st.integers(0, len(drawn)))
    added = made_row("worse", worse[0] / 1000, *worse[2:], valid=worse[1] / 1000)
    after = chosen_of([*rows[:place], added, *rows[place:]], prefer=prefer)
    assert before is not None
    assert after is before


def test_the_front_is_of_any_two_columns(store: Path) -> None:
    rows = analysed(store, Criteria()).rows
    by_latency = pareto_front(rows, COLUMNS["accuracy"], COLUMNS["latency"])
    assert [row.name for row in by_latency] == ["small", "middle", "large"]
    fastest = pareto_front(rows, COLUMNS["throughput"], COLUMNS["macs"])
    assert [row.name for row in fastest] == ["small"]
