"""Other settings of the pick on the page: it picks as Python does, and says how to do the same."""

from __future__ import annotations

import dataclasses
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmark.commands.report import _criteria, report
from benchmark.report.page.criteria import ASKED, row_data, rule_data
from benchmark.report.pick_rule import ChooseOn, Cost, Criteria, Prefer, Rule
from benchmark.report.rows import Row, make_rows
from clothclf.results import MeasuredCost
from tests.benchmark.drawn_study import Made, make_study
from tests.benchmark.examples import make_cost, make_measured, make_record, make_spec
from tests.browser.pages import CHROMIUM, all_drawn, keep_screenshot, write

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

CASES = 1000
NAMES = ("mobilenetv3_small_100", "resnet18", "resnet34", "efficientnet_b0", "vgg16")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_study(tmp_path_factory.mktemp("asking"), NAMES, seeds=(0,))


@pytest.fixture(scope="module")
def path(study: Made) -> Path:
    return write(study, study.root / "report.html")


def random_rows(draw: random.Random) -> list[Row]:
    """A table with equal accuracies and costs, unknown costs, and unlike conditions."""
    (template,) = make_rows_of_one()
    return [
        dataclasses.replace(
            template,
            architecture=draw.choice(("b", "a", "ä", "𝒜", "Z")) + str(draw.randrange(3)),
            metrics={"accuracy": some_share(draw), "macro_f1": 0.5},
            valid_accuracy=some_share(draw),
            cost=None if draw.random() < 0.1 else make_cost("a", some_macs(draw)),
            measured=some_measurement(draw),
        )
        for _ in range(draw.randint(1, 12))
    ]


def make_rows_of_one() -> list[Row]:
    from benchmark.report.collect import Comparison

    return make_rows(Comparison([make_record(make_spec(), 0.5, 10**9)], [], []))


def some_share(draw: random.Random) -> float:
    return draw.choice((round(draw.uniform(0.5, 1), 2), draw.uniform(0.5, 1)))


def some_macs(draw: random.Random) -> int:
    return draw.choice((int(10 ** draw.randint(7, 10)), draw.randint(10**7, 10**10)))


def some_measurement(draw: random.Random) -> MeasuredCost | None:
    if draw.random() < 0.15:
        return None
    latency = draw.choice((float(draw.randint(1, 5)), draw.uniform(0.5, 50)))
    result = make_measured(latency, busy="a guest" if draw.random() < 0.1 else "")
    return dataclasses.replace(result, threads=draw.choice((2, 2, 2, 2, 2, 2, 2, 2, 4)))


def random_criteria(draw: random.Random, rows: list[Row]) -> Criteria:
    """Limits at and beside the values of the rows."""
    row = draw.choice(rows)
    near = draw.choice((1.0, 1.0, 0.9, 1.2))
    limits: dict[str, Any] = {}
    if row.cost and draw.random() < 0.3:
        limits["max_gmacs"] = near * row.cost.macs / 1e9
    if row.cost and draw.random() < 0.2:
        limits["max_params"] = near * row.cost.params / 1e6
    if row.measured and draw.random() < 0.3:
        limits["max_latency_ms"] = near * row.measured.latency_ms_median
    if draw.random() < 0.3:
        limits["min_accuracy"] = draw.choice((row.accuracy, row.valid_accuracy, 0.7))
    return Criteria(
        prefer=draw.choice(get_args(Prefer)),
        cost=draw.choice([cost for cost in get_args(Cost) if cost != "price"]),
        points_per_10x=draw.choice((0.0, 1.0, 2.0, 10.0, draw.uniform(0, 10))),
        max_drop=draw.choice((0.0, 1.0, 2.0, draw.uniform(0, 20))),
        choose_on=draw.choice(get_args(ChooseOn)),
        **limits,
    )


def place_of(rows: list[Row], row: Row | None) -> int | None:
    return None if row is None else rows.index(row)


PICKS = """
([cases, constants]) => cases.map(([rows, criteria]) => {
  const pick = pickFrom(rows, criteria, constants) || null;
  const others = rows.filter((row) => row !== pick);
  const second = pick && (pickFrom(others, criteria, constants) || null);
  const place = (row) => (row ? rows.indexOf(row) : null);
  return [place(pick), place(second), optionsOf(criteria, constants)];
})
"""


def test_the_page_picks_as_python_does_and_its_command_reproduces_it(
    path: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(path)
    draw = random.Random(0)
    tables = [random_rows(draw) for _ in range(CASES)]
    asked = [random_criteria(draw, rows) for rows in tables]
    cases = [
        [
            row_data(rows, [row.name for row in rows]),
            {key: getattr(criteria, key) for key in (*ASKED, "choose_on")},
        ]
        for rows, criteria in zip(tables, asked, strict=True)
    ]
    result = page.evaluate(PICKS, [json.loads(json.dumps(cases)), rule_data()])
    picks: set[int | None] = set()
    for rows, criteria, (pick, second, options) in zip(tables, asked, result, strict=True):
        rule = Rule(rows, criteria)
        chosen = rule.chosen()
        picks.add(place_of(rows, chosen))
        assert pick == place_of(rows, chosen), criteria
        runner_up = rule.chosen(without=chosen) if chosen else None
        assert second == place_of(rows, runner_up), criteria
        again = dataclasses.replace(criteria_of(options), choose_on=criteria.choose_on)
        assert again == criteria
    assert len(picks) > 5


def criteria_of(options: str) -> Criteria:
    """Criteria that `bench report` reads from its options."""
    context = report.make_context("report", shlex.split(options))
    names = {field.name for field in dataclasses.fields(Criteria)}
    return _criteria(**{name: value for name, value in context.params.items() if name in names})


def test_a_limit_picks_again_and_can_be_shared_and_taken_back(
    path: Path, study: Made, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    from benchmark.report.analysis import analyse

    comparison = study.collection().comparisons[0]
    own = analyse(comparison, study.root).pick
    assert own is not None
    assert own.chosen is not None
    page = open_page(path)
    all_drawn(page)
    before = page.locator("[data-card]").inner_text()
    page.locator("[data-ask] > summary").click()
    limit = round(0.9 * (own.chosen.macs or 0) / 1e9, 4)
    page.locator('[data-set="max_gmacs"]').fill(str(limit))
    other = analyse(comparison, study.root, Criteria(max_gmacs=limit)).pick
    assert other is not None
    assert other.chosen is not None
    assert other.chosen is not own.chosen
    name = other.chosen.name
    assert page.locator("[data-pick-name]").inner_text() == name
    assert page.locator("[data-command]").inner_text() == f"bench report --max-gmacs {limit}"
    assert page.locator('[data-name="pick"]').text_content() == name
    assert page.locator("table.main tr.pick th").inner_text().startswith(name)
    excluded = page.locator("table.main tr.excluded").count()
    rule = Rule(make_rows(comparison), Criteria(max_gmacs=limit))
    assert excluded == len(rule.rows) - len(rule.fitting) > 0
    keep_screenshot(page, "asked.png", tmp_path)
    fragment = page.evaluate("location.hash")
    page.locator("[data-reset]").click()
    page.locator("[data-ask] > summary").click()
    assert page.locator("[data-card]").inner_text() == before
    shared = open_page(path, fragment=fragment)
    assert shared.locator("[data-pick-name]").inner_text() == name
    assert shared.locator('[data-set="max_gmacs"]').input_value() == str(limit)


def test_a_slider_asks_as_a_box_does(path: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(path)
    page.locator("[data-ask] > summary").click()
    slider = page.locator('[data-slide="points_per_10x"]')
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator('[data-set="points_per_10x"]').input_value() == "0"
    assert page.locator("[data-command]").inner_text() == "bench report --points-per-10x 0"
    page.locator('[data-set="prefer"]').select_option("speed")
    assert "--prefer speed" in page.locator("[data-command]").inner_text()
    assert not slider.is_visible()
    assert page.locator('[data-slide="max_drop"]').is_visible()


@pytest.mark.parametrize("count", [4, 12])
def test_the_page_names_the_points_that_python_names(
    count: int, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    """Redrawn by the script for the same pick, the card's chart is the same."""
    names = [f"efficientnet_lite_{number}.in1k" for number in range(count)]
    path = write(make_study(tmp_path, names, seeds=(0,)), tmp_path / "report.html")
    written, redrawn = (
        [
            (name.text_content(), name.get_attribute("data-name"), name.bounding_box())
            for name in open_page(path, fragment=fragment).locator("[data-names] text").all()
        ]
        for fragment in ("", "#ask-0?min_accuracy=0.001")
    )
    assert len(written) >= (3 if count == 4 else 2)  # of many, those with room
    assert redrawn == written


def test_where_nothing_fits_the_page_says_so(path: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(path, fragment="#ask-0?max_gmacs=0.000001")
    assert page.locator("[data-pick-name]").inner_text() == "No pick"
    assert "No architecture meets these limits" in page.locator("[data-sentence]").inner_text()


@pytest.mark.parametrize(
    "fragment",
    ["#ask-0?prefer=%3Cimg%3E&cost=x", "#ask-0?max_gmacs=-1&min_accuracy=NaN", "#ask-9?x"],
)
def test_a_strange_address_changes_nothing(
    path: Path, open_page: Callable[..., Any], fragment: str
) -> None:
    plain = open_page(path).locator("[data-sentence]").inner_text()
    assert open_page(path, fragment=fragment).locator("[data-sentence]").inner_text() == plain
