"""The HTML report as text: whole, escaped, nothing hidden, nothing fetched."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image, ImageFont

from benchmark.report.analysis import Analysis, all_wrong, analyse
from benchmark.report.charts import pareto, seeds
from benchmark.report.charts import style as chart_style
from benchmark.report.charts.chart_files import plots, write_plots
from benchmark.report.charts.confusion import MAX_CLASSES, MAX_OPACITY, shown_classes
from benchmark.report.charts.labels import PLOT, Point, place_labels
from benchmark.report.charts.pareto import cost_columns, log_ticks, pareto_data
from benchmark.report.charts.shared import names_of
from benchmark.report.columns import COLUMNS, pareto_front
from benchmark.report.page import card
from benchmark.report.page.figures import decimals, typeset
from benchmark.report.page.html import render_html
from benchmark.report.page.mistakes import MAX_BEHIND_CONFUSIONS, MAX_OF_PICK, image_groups
from benchmark.report.page.tables import main_table, plain
from benchmark.report.pick import choose_pick
from benchmark.report.pick_rule import Criteria
from benchmark.report.rows import make_rows
from benchmark.report.statistics import Interval
from benchmark.runs.audits import Audit, AuditHead, Suspect, store_audit
from clothclf.cost.counters.registry import COUNTERS
from clothclf.results import Weights
from clothclf.training.metrics import METRICS
from tests.benchmark.drawn_study import Made, fail, make_study
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.test_report_contents import store_record, study_in

NAMES = ("resnet18", "resnet34", "vgg16")


class Page(html.parser.HTMLParser):
    """What a page's text says: its elements, and the text of tables, scripts and data."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._script: dict[str, str | None] | None = None
        self.data: Any = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._script = dict(attrs) if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.words.append(data)
        elif self._script.get("type") == "application/json":
            self.data = json.loads(data)
        else:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write(made: Made, images: bool = True) -> str:
    collection = made.collection()
    analyses = [analyse(comparison, made.root) for comparison in collection.comparisons]
    return render_html(made.study, collection, analyses, images)


def analysis_of(made: Made) -> Analysis:
    return analyse(made.collection().comparisons[0], made.root)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_study(tmp_path_factory.mktemp("html"), NAMES)


@pytest.fixture(scope="module")
def page_text(made: Made) -> str:
    return write(made)


@pytest.fixture(scope="module")
def page(page_text: str) -> Page:
    return Page(page_text)


def test_nothing_in_the_page_is_fetched(page: Page) -> None:
    """Every address is within the page or data; the script of charts comes from no network."""
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), (tag, name, address)
    style = " ".join(word for word in page.words if "{" in word)
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_lets_in_the_page_s_own_scripts_alone(page: Page) -> None:
    (policy,) = [
        str(attributes["content"])
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    digests = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in page.scripts
    }
    assert set(rules["script-src"].split()) == digests
    handlers = [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    assert not handlers


def test_every_row_and_every_figure_of_the_analysis_stands_in_the_page(
    made: Made, page: Page
) -> None:
    """With one decimal: intervals on so few images are wider than a point."""
    analysis = analysis_of(made)
    assert decimals(analysis) == 1
    for row, figures in zip(analysis.rows, analysis.statistics, strict=True):
        assert figures is not None
        assert f"{100 * row.accuracy:.1f}" in page.text
        assert f"{100 * figures.accuracy.low:.1f} to {100 * figures.accuracy.high:.1f}" in page.text
        assert f"{row.macro_f1:.3f}" in page.text
    assert analysis.pick is not None
    for text in (analysis.pick.sentence, analysis.pick.sensitivity):
        assert " ".join(typeset(text).split()) in page.text
    for pair in analysis.pairs.values():
        interval = f"{100 * pair.interval.low:.1f} to {100 * pair.interval.high:.1f}"
        assert typeset(interval) in page.text


def test_more_images_get_more_digits(made: Made) -> None:
    analysis = analysis_of(made)
    narrow = [
        dataclasses.replace(figures, accuracy=Interval(0.801, 0.809))
        for figures in analysis.statistics
        if figures is not None
    ]
    assert decimals(dataclasses.replace(analysis, statistics=narrow)) == 2
    assert decimals(dataclasses.replace(analysis, statistics=[None] * len(narrow))) == 2


def test_negative_numbers_have_a_minus_sign_and_names_keep_their_hyphens() -> None:
    assert typeset("vit-b-16, -0.6 to 1.4 (-2), seeds 0-3") == (
        "vit-b-16, −0.6 to 1.4 (−2), seeds 0-3"
    )


def test_facts_of_all_rows_stand_above_the_table_and_others_in_it(made: Made) -> None:
    analysis = analysis_of(made)
    table = main_table(analysis, [], 1)
    assert table.facts[:3] == ("test split", "mean of 2 seeds (0, 1)", "frozen")
    assert {"weights random", "48 x 48 px", "12 epochs"} <= set(table.facts)
    assert not {"seeds", "status", "FLOPs", "weights", "px"} & set(table.columns)
    assert table.columns[:4] == ("architecture", "accuracy (%)", "MACs", "latency")
    assert {len(line.cells) for line in table.lines} == {len(table.columns)}
    rows = [
        dataclasses.replace(row, weights=f"w{place}", seeds=(place,), epochs=float(place))
        for place, row in enumerate(analysis.rows)
    ]
    pick = choose_pick(rows, Criteria(prefer="size"))
    unlike = main_table(dataclasses.replace(analysis, rows=rows, pick=pick), [], 1)
    assert unlike.columns[2] == "parameters"  # the cost that decides comes first
    assert unlike.columns[-2:] == ("seeds", "weights")
    assert [line.cells[-1].text for line in unlike.lines] == ["w0", "w1", "w2"]
    assert {len(line.cells) for line in unlike.lines} == {len(unlike.columns)}


def test_rows_on_the_front_and_in_the_confidence_set_are_tagged(made: Made) -> None:
    analysis = analysis_of(made)
    assert analysis.pick is not None
    for row, line in zip(analysis.rows, main_table(analysis, [], 1).lines, strict=True):
        rank = analysis.ranks[analysis.rows.index(row)]
        assert ("front" in line.tags.split()) == (row in analysis.pick.front)
        assert ("set" in line.tags.split()) == rank.may_be_best


def test_costs_and_names_sort_ascending_first_and_accuracies_descending(made: Made) -> None:
    table = main_table(analysis_of(made), [], 1)
    ascending = {title for place, title in enumerate(table.columns) if table.ascends(place)}
    assert ascending == {"architecture", "MACs", "latency", "parameters", "training time"}


def test_every_counter_and_every_loss_sorts_ascending_first() -> None:
    titles = ["architecture", *COUNTERS, *(metric.title for metric in METRICS.values())]
    table = plain("", titles, [["a", *["1"] * (len(titles) - 1)]])
    descending = {title for place, title in enumerate(titles) if not table.ascends(place)}
    assert descending == {metric.title for metric in METRICS.values() if metric.higher_is_better}


def test_the_card_draws_the_rule_through_the_pick(made: Made) -> None:
    """All points of one worth lie on its straight line, since the cost axis is logarithmic."""
    comparison = made.collection().comparisons[0]
    drawn = card.scatter(analyse(comparison, made.root, Criteria(points_per_10x=3.0)))
    assert drawn is not None
    assert drawn.pick is not None
    assert drawn.runner_up is not None
    assert drawn.rule is not None
    x0, y0, x1, y1 = drawn.rule
    at_pick = y0 + (y1 - y0) * (drawn.pick.x - x0) / (x1 - x0)
    assert at_pick == pytest.approx(drawn.pick.y, abs=0.3)
    low, high = drawn.data["axes"]["macs"]["range"]
    bottom, top = drawn.data["accuracy"]
    _, _, _, height = drawn.data["box"]
    assert (y0 - y1) * (top - bottom) / height == pytest.approx(3 * (high - low), abs=0.1)
    for mark in drawn.marks:
        assert card.LEFT <= mark.x <= card.WIDTH - card.RIGHT
        assert card.TOP <= mark.high <= mark.y <= mark.low <= card.HEIGHT - card.BOTTOM


@pytest.mark.parametrize("prefer", ["accuracy", "speed", "size"])
def test_other_preferences_draw_no_price(made: Made, prefer: Any) -> None:
    """The most accurate has no line, a maximum drop a level one."""
    comparison = made.collection().comparisons[0]
    drawn = card.scatter(analyse(comparison, made.root, Criteria(prefer=prefer)))
    assert drawn is not None
    if prefer == "accuracy":
        assert drawn.rule is None
    else:
        assert drawn.rule is not None
        assert drawn.rule[1] == drawn.rule[3]
        assert drawn.cost == {"speed": "latency", "size": "params"}[prefer]


@pytest.mark.parametrize("points", [0.0, 0.5, 2.0, 20.0])
def test_the_card_names_every_point_of_a_few_without_overlaps(made: Made, points: float) -> None:
    comparison = made.collection().comparisons[0]
    analysis = analyse(comparison, made.root, Criteria(points_per_10x=points))
    drawn = card.scatter(analysis)
    assert drawn is not None
    assert len(drawn.marks) <= card.MAX_ALL_NAMED
    assert sorted(name.text for name in drawn.names) == sorted(row.name for row in analysis.rows)
    kinds = [name.kind for name in drawn.names]
    assert (kinds.count("pick"), kinds.count("runner-up")) == (1, 1)
    assert_apart(drawn)


def test_of_many_points_the_card_names_those_that_count(tmp_path: Path) -> None:
    names = [f"architecture_{number:02}" for number in range(12)]
    analysis = analysis_of(make_study(tmp_path, names, seeds=(0,)))
    drawn = card.scatter(analysis)
    assert drawn is not None
    assert {name.kind for name in drawn.names} == {"pick", "runner-up", "other"}
    front = {analysis.rows[mark.index].name for mark in drawn.marks if mark.front}
    assert {name.text for name in drawn.names if name.kind == "other"} <= front
    assert_apart(drawn)


def assert_apart(drawn: card.Scatter) -> None:
    """Names stay inside the chart, and cover neither each other nor a point."""
    taken = [(mark.x - 4, mark.y - 4, mark.x + 4, mark.y + 4) for mark in drawn.marks]
    for name in drawn.names:
        wide = card.FONT.width(name.text)
        left = name.x - (wide if name.anchor == "end" else 0)
        assert 0 <= left <= left + wide <= card.WIDTH
        box = (left, name.y - 12, left + wide, name.y + 4)
        for other in taken:
            apart = box[2] <= other[0] or other[2] <= box[0]
            assert apart or box[3] <= other[1] + 0.1 or other[3] <= box[1] + 0.1, name
        taken.append(box)


def test_the_card_gives_the_accuracy_that_decides(made: Made) -> None:
    comparison = made.collection().comparisons[0]
    for on, word in (("validation", "decides the pick"), ("test", "not used for the choice")):
        analysis = analyse(comparison, made.root, Criteria(choose_on=on))
        row = analysis.rows[0]
        tile = ("validation accuracy", f"{100 * row.valid_accuracy:.1f} %", word)
        assert tile in card.tiles(analysis, row, 1)


def test_images_behind_confusions_are_those_of_the_predictions(made: Made) -> None:
    analysis = analysis_of(made)
    test = analysis.test
    assert test is not None
    result = image_groups(analysis, 0)
    assert result is not None
    assert 0 < len(result.behind) <= MAX_BEHIND_CONFUSIONS
    by_id = {image: number for number, image in enumerate(test.ids)}
    for image in result.behind:
        index = by_id[image["id"]]
        assert image["label"] == test.labels[index]
        predicted = [predictions[0].predicted[index] for predictions in analysis.predictions]
        assert image["predictions"] == predicted
        sure = [
            100 * predictions[0].probabilities[index].max() for predictions in analysis.predictions
        ]
        assert image["sure"] == pytest.approx(sure, abs=0.51)
        assert any(response != image["label"] for response in predicted)
    # Of each confusion of the first row, the most confident.
    own = analysis.predictions[0][0]
    for actual, response in np.argwhere(analysis.statistics[0].confusion):  # type: ignore[union-attr]
        if actual == response:
            continue
        mine = np.flatnonzero((test.labels == actual) & (own.predicted == response))
        best = mine[np.argsort(-own.probabilities[mine].max(axis=1), kind="stable")][:MAX_OF_PICK]
        assert {test.ids[index] for index in best} <= {image["id"] for image in result.behind}


def test_labels_that_an_audit_doubts_are_marked_beside_their_images(tmp_path: Path) -> None:
    made = make_study(tmp_path, ("resnet18", "vgg16"), seeds=(0,), epochs=2)
    analysis = analysis_of(made)
    assert analysis.test is not None
    wrong = all_wrong(analysis)[0]
    suspect = Suspect(id=wrong.id, label=wrong.label, suggested="a <class>", p_label=0.1,
                      p_suggested=0.9, split="test")  # fmt: skip
    fingerprint = analysis.comparison.specs[0].data_summary.fingerprint
    head = AuditHead(architecture="resnet18", image_size=48, weights="w", weights_sha256="",
                     accuracy=0.9)  # fmt: skip
    audit = Audit(fingerprint=fingerprint, title="t", heads=(head,), folds=5, images=100,
                  accuracy=0.9, suspects=(suspect,))  # fmt: skip
    store_audit(made.root, audit)
    text = write(made)
    assert "suspected label error: a <class>?" in Page(text).text
    assert "a <class>" not in text.partition("<script")[0]
    behind = Page(text).data["comparisons"][0]["behind"]
    assert {image["doubt"] for image in behind if image["id"] == wrong.id} <= {"a <class>"}


def test_the_same_runs_give_the_same_page(made: Made, page_text: str) -> None:
    assert write(made) == page_text


def test_failed_unfinished_and_missing_runs_stand_in_the_table(tmp_path: Path) -> None:
    made = make_study(tmp_path, ("resnet18",), seeds=(0,), epochs=2)
    fail(made, "vgg16", "the loss <b>is</b> not finite")
    study = made.study.model_copy(update={"seeds": (0, 7)})
    text = write(dataclasses.replace(made, study=study))
    page = Page(text)
    assert "failed in train the loss <b>is</b> not finite" in page.text
    assert "<b>is</b>" not in text
    assert "resnet18, seed 7" in page.text
    assert "not started" in page.text


def test_a_study_without_a_finished_run_has_a_page(tmp_path: Path) -> None:
    made = make_study(tmp_path, ("resnet18",), seeds=(0,), epochs=2)
    fail(made, "vgg16", "out of memory")
    shutil.rmtree(next(made.root.glob("runs/s/resnet18*")))
    page = Page(write(made))
    assert "No run has finished" in page.text
    assert "out of memory" in page.text


def test_runs_without_saved_answers_have_a_page_that_says_so(tmp_path: Path) -> None:
    for number, name in enumerate(("vgg16", "resnet18")):
        store_record(tmp_path, make_record(make_spec(name), 0.8 + number / 10, 1000 * (1 + number)))
    study = study_in(tmp_path, "vgg16", "resnet18")
    page = Page(write(Made(study, tmp_path)))
    assert "no interval" in page.text
    assert "no confidence interval without saved predictions" in page.text
    assert page.data["comparisons"][0]["results"] == []


def test_where_nothing_fits_the_page_says_what_comes_closest(made: Made) -> None:
    collection = made.collection()
    analysis = analyse(collection.comparisons[0], made.root, Criteria(max_gmacs=1e-6))
    assert analysis.pick is not None
    page = Page(render_html(made.study, collection, [analysis]))
    assert "No pick" in page.text
    assert analysis.pick.sentence in page.text


def test_runs_on_other_data_have_a_part_of_their_own(tmp_path: Path) -> None:
    made = make_study(tmp_path, ("resnet18", "vgg16"), seeds=(0,), epochs=2)
    spec = made.collection().comparisons[0].records[0].spec
    other = dataclasses.replace(spec.data_summary, fingerprint="e" * 16)
    changed = spec.model_copy(update={"architecture": "resnet50", "data_summary": other})
    store_record(tmp_path, make_record(changed, 0.123, 1000))
    page = Page(write(made))
    assert f"Other data, fingerprint {'e' * 16}" in page.text
    assert "12.30" in page.text
    assert len(page.data["comparisons"]) == 2
    names = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert len(set(names)) == len(names)


HOSTILE = '</script><img src=x onerror="alert(1)">{{ 7 * 7 }}${1}\u2028'


def test_names_of_others_are_text_and_nothing_else(tmp_path: Path) -> None:
    made = make_study(tmp_path, ("resnet18", "vgg16"), seeds=(0,), epochs=2)
    collection = made.collection()
    comparison = collection.comparisons[0]

    def spoil(analysis: Analysis) -> Analysis:
        assert analysis.test is not None
        classes = (HOSTILE, *analysis.test.classes[1:])
        test = dataclasses.replace(analysis.test, classes=classes)
        rows = [
            dataclasses.replace(row, weights=HOSTILE, measured_error=HOSTILE, cost_error=HOSTILE)
            for row in analysis.rows
        ]
        statistics = [
            dataclasses.replace(
                figures,
                per_class=tuple(
                    dataclasses.replace(result, label=HOSTILE) for result in figures.per_class
                ),
            )
            for figures in analysis.statistics
            if figures is not None
        ]
        return dataclasses.replace(
            analysis, test=test, rows=rows, statistics=statistics, notes=(HOSTILE,)
        )

    spoilt = spoil(analyse(comparison, made.root))
    spoilt = dataclasses.replace(spoilt, pick=None)
    text = render_html(made.study, dataclasses.replace(collection, elsewhere=[HOSTILE]), [spoilt])
    page = Page(text)
    assert HOSTILE.split("{{")[0] in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert len(page.scripts) == 2
    assert HOSTILE in json.dumps(page.data, ensure_ascii=False).replace('\\"', '"')


def test_images_are_those_of_the_split_and_can_be_left_out(made: Made, page: Page) -> None:
    analysis = analysis_of(made)
    wrong = all_wrong(analysis)
    assert wrong
    images = {str(a["alt"]): str(a["src"]) for tag, a in page.elements if tag == "img"}
    first = wrong[0]
    content = base64.b64decode(images[f"Test image {first.id}"].partition(",")[2])
    shown = np.asarray(Image.open(io.BytesIO(content))).astype(float)
    pixels = np.load(analysis.comparison.records[0].spec.pixels, mmap_mode="r")
    differences = [float(np.abs(shown - array).mean()) for array in pixels.astype(float)]
    assert int(np.argmin(differences)) == first.pixel_row
    assert not [tag for tag, _ in Page(write(made, images=False)).elements if tag == "img"]


def test_where_the_decoded_images_are_missing_the_page_says_so(tmp_path: Path) -> None:
    made = make_study(tmp_path, ("resnet18", "vgg16"), seeds=(0,), epochs=2)
    shutil.rmtree(tmp_path / "cache")
    page = Page(write(made))
    assert "The decoded images, a cache, are missing" in page.text
    assert not [tag for tag, _ in page.elements if tag == "img"]


def test_points_of_the_pareto_chart_are_the_rows_and_the_front_is_the_front(made: Made) -> None:
    analysis = analysis_of(made)
    for column in cost_columns(analysis):
        data = pareto_data(analysis, column)
        front = {names_of(analysis.rows)[analysis.rows.index(row)]
                 for row in pareto_front(analysis.rows, cost=column)}  # fmt: skip
        assert [item["accuracy"] for item in data] == [100 * row.accuracy for row in analysis.rows]
        assert {item["name"] for item in data if item["front"] == "on the Pareto front"} == front
        assert all(item["low"] < item["accuracy"] < item["high"] for item in data)


def test_the_cost_that_was_asked_for_comes_first(made: Made) -> None:
    comparison = made.collection().comparisons[0]
    analysis = analyse(comparison, made.root, Criteria(front=("accuracy", "memory")))
    assert [column.key for column in cost_columns(analysis)][:2] == ["memory", "macs"]
    assert cost_columns(analysis)[0] is COLUMNS["memory"]


@pytest.mark.parametrize(("low", "high"), [(0.106, 0.157), (0.05, 0.136), (1.0, 40.0), (1e-4, 9e3)])
def test_a_logarithmic_axis_has_a_few_round_ticks(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 4 <= len(ticks) <= 30
    assert ticks == sorted(set(ticks))
    assert all(low / 1.25 <= tick <= high * 1.25 for tick in ticks)
    assert all(float(f"{tick:.1e}") == tick for tick in ticks)  # two digits say it


def test_two_starts_of_one_architecture_have_two_names(tmp_path: Path) -> None:
    for number, name in enumerate(("random", "hub/vgg16")):
        weights = Weights("random" if number == 0 else "pretrained", name, "f" * number, None)
        store_record(tmp_path, make_record(make_spec("vgg16", weights=weights), 0.8, 1000))
    made = Made(study_in(tmp_path), tmp_path)
    rows = make_rows(made.collection().comparisons[0])
    assert sorted(names_of(rows)) == ["vgg16, hub/vgg16", "vgg16, random"]


@pytest.mark.parametrize("width", [*pareto.LABELLED_WIDTHS, PLOT[0]])
def test_labels_of_points_do_not_cover_each_other(width: float) -> None:
    generator = np.random.default_rng(0)
    points = [
        Point(f"architecture_{n}", float(10 ** generator.uniform(0, 2)), y, y - 0.5, y + 0.5)
        for n, y in enumerate(generator.uniform(60, 90, 40).tolist())
    ]
    placed = place_labels(points, range(40), plot=(width, PLOT[1]))
    assert placed[0] is not None
    assert (5 if width > 500 else 1) <= sum(label is not None for label in placed) < 40
    logs = np.log([point.x for point in points])
    low, high = logs.min() - np.log(1.25), logs.max() + np.log(1.25)
    bottom, top = (min(p.low for p in points), max(p.high for p in points))
    margin = 0.06 * (top - bottom)
    boxes = []
    for label, point, log in zip(placed, points, logs, strict=True):
        if label is None:
            continue
        x = width * (log - low) / (high - low) + label.dx
        y = PLOT[1] * (top + margin - point.y) / (top - bottom + 2 * margin) + label.dy
        wide = 6.7 * len(label.text)
        x -= wide if label.align == "right" else 0
        boxes.append((x, y, wide))
    for number, (x, y, wide) in enumerate(boxes):
        assert x >= 0
        assert x + wide <= width
        for other_x, other_y, other_wide in boxes[:number]:
            apart = x + wide <= other_x or other_x + other_wide <= x
            assert apart or abs(y - other_y) >= 15 - 1e-9


def test_of_many_classes_the_most_mistaken_are_drawn(made: Made) -> None:
    analysis = analysis_of(made)
    assert analysis.test is not None
    count = 3 * MAX_CLASSES
    confusion = np.diag(np.full(count, 50))
    mistaken = list(range(5, 5 + MAX_CLASSES))
    confusion[mistaken, np.roll(mistaken, 1)] = 9
    figures = analysis.statistics[0]
    assert figures is not None
    many = dataclasses.replace(
        analysis,
        test=dataclasses.replace(analysis.test, classes=tuple(f"c{n}" for n in range(count))),
        statistics=[dataclasses.replace(figures, confusion=confusion)],
    )
    assert shown_classes(many) == mistaken


@pytest.mark.parametrize("colours", [chart_style.LIGHT, chart_style.DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_paper(colours: chart_style.Colours) -> None:
    """Text by 4.5 to 1, marks by 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    for colour in (colours.ink, colours.muted, colours.accent, colours.error):
        assert contrast(colour, colours.paper) >= 4.5
        assert contrast(colour, colours.panel) >= 4.5
    assert all(contrast(colour, colours.paper) >= 3 for colour in colours.series)


@pytest.mark.parametrize("colours", [chart_style.LIGHT, chart_style.DARK], ids=["light", "dark"])
def test_digits_on_confusion_cells_and_interval_bars_stand_out(
    colours: chart_style.Colours,
) -> None:
    """Digits by 4.5 to 1 on a cell of any share, bars by 3 to 1 on the paper."""
    for colour in (colours.accent, colours.error):
        for opacity in np.linspace(0, MAX_OPACITY, 101):
            assert contrast(colours.ink, blended(colour, colours.paper, opacity)) >= 4.5
    for colour, opacity in (
        (colours.accent, pareto.BAR_OPACITY),
        (colours.muted, pareto.BAR_OPACITY),
        (colours.accent, seeds.BAR_OPACITY),
    ):
        assert contrast(blended(colour, colours.paper, opacity), colours.paper) >= 3


def blended(colour: str, paper: str, opacity: float) -> str:
    """Colour of a mark of this opacity on the paper."""
    mixed = [
        round(opacity * int(colour[n : n + 2], 16) + (1 - opacity) * int(paper[n : n + 2], 16))
        for n in (1, 3, 5)
    ]
    return "#" + "".join(f"{value:02x}" for value in mixed)


@pytest.mark.parametrize("colours", [chart_style.LIGHT, chart_style.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("blindness", ["none", "protan", "deutan"])
def test_colour_blind_readers_tell_front_mistakes_and_series_apart(
    colours: chart_style.Colours, blindness: str
) -> None:
    """In CIELAB, by the dichromats' matrices of Viénot, Brettel and Mollon (1999)."""
    assert distance(colours.accent, colours.error, blindness) > 40
    assert distance(colours.accent, colours.muted, blindness) > 15
    series = [distance(a, b, blindness) for n, a in enumerate(colours.series)
              for b in colours.series[:n]]  # fmt: skip
    assert min(series) > 15
    assert len(set(chart_style.DASHES)) == len(chart_style.DASHES) == len(colours.series)


def channels(colour: str) -> np.ndarray:
    """Linear light of a colour, red green blue."""
    result = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(result <= 0.04045, result / 12.92, ((result + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    light = sorted(float(channels(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


SEEN = {
    "none": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deutan": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


def distance(one: str, other: str, blindness: str) -> float:
    def lab(colour: str) -> np.ndarray:
        to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        seen = np.clip(SEEN[blindness] @ channels(colour), 0, 1)
        x, y, z = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1, 1.089])
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    return float(np.linalg.norm(lab(one) - lab(other)))


def test_plots_are_written_as_png_and_svg_with_units(made: Made, tmp_path: Path) -> None:
    analysis = analysis_of(made)
    written = write_plots(analysis, tmp_path / "plots")
    assert {path.suffix for path in written} == {".png", ".svg"}
    stems = {path.stem for path in written}
    assert {"accuracy-macs", "accuracy-params", "accuracy-latency", "accuracy-time"} <= stems
    assert {"seed-spread", "curves-accuracy", "curves-loss", "confusion-vgg16"} <= stems
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 1000
                assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20
    text = (tmp_path / "plots" / "accuracy-macs.svg").read_text()
    assert "test accuracy (%)" in text
    assert "MACs (G)" in text
    assert "vgg16" in text
    assert not re.search(r"(href|src)=\"http", text)


LONG_NAMES = [f"convnextv2_nano.fcmae_ft_in22k_in1k_{n}" for n in range(30)]


@pytest.mark.parametrize("names", [LONG_NAMES[:3], LONG_NAMES], ids=["3", "30"])
def test_no_text_of_a_static_plot_is_cut_off(tmp_path: Path, names: list[str]) -> None:
    """Titles, legends, axes and labels, measured in the font that plots are drawn in here."""
    made = make_study(tmp_path, names, seeds=(0,))
    written = write_plots(analysis_of(made), tmp_path / "plots")
    result = {path.name: list(texts_outside(path)) for path in written if path.suffix == ".svg"}
    assert len(result) >= 7 + len(names[:12])
    assert {name: cut for name, cut in result.items() if cut} == {}


def texts_outside(path: Path) -> Iterator[str]:
    """Texts of an SVG that reach beyond its view box by more than a pixel."""
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for text, left, top, right, bottom in text_boxes(root, np.eye(3)):
        if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
            yield text


def text_boxes(
    element: ElementTree.Element, outer: np.ndarray
) -> Iterator[tuple[str, float, float, float, float]]:
    """Each text that is shown, with its left, top, right and bottom in the whole image."""
    matrix = outer @ transform_of(element.attrib.get("transform", ""))
    if element.tag.endswith("}text") and float(element.attrib.get("opacity", 1)) > 0:
        text = "".join(element.itertext())
        size = float(element.attrib["font-size"].removesuffix("px"))
        font = ImageFont.truetype(FONT_FILE, size)
        starts = {"middle": -0.5, "end": -1.0}
        x = font.getlength(text) * starts.get(element.attrib.get("text-anchor", ""), 0.0)
        # Height of capitals above the base line, and depth of descenders below it.
        corners = [(x, -0.73 * size), (x + font.getlength(text), 0.24 * size)]
        points = np.array([(a, b, 1) for a, _ in corners for _, b in corners])
        xs, ys, _ = matrix @ points.T
        yield text, min(xs), min(ys), max(xs), max(ys)
    for child in element:
        yield from text_boxes(child, matrix)


FONT_FILE = font_manager.findfont("DejaVu Sans")


def transform_of(text: str) -> np.ndarray:
    """`translate(3,4) rotate(-90)` as a matrix [3, 3]."""
    matrix = np.eye(3)
    for name, figures in re.findall(r"(translate|rotate)\(([^)]*)\)", text):
        values = [float(value) for value in figures.split(",")]
        if name == "translate":
            step = np.array([[1, 0, values[0]], [0, 1, values[1]], [0, 0, 1]])
        else:
            cos, sin = np.cos(np.radians(values[0])), np.sin(np.radians(values[0]))
            step = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        matrix = matrix @ step
    return matrix


def test_axes_of_static_plots_name_their_units(made: Made) -> None:
    for name, spec in plots(analysis_of(made)):
        text = json.dumps(spec)
        units = ("(%)", "(nats)", "true class")
        assert any(unit in text for unit in units), name


def test_charts_are_valid_vega_lite(made: Made) -> None:
    """By the schema that Altair has: Vega would ignore a misspelled key without a word."""
    altair = pytest.importorskip("altair")
    for name, spec in plots(analysis_of(made)):
        chart = {key: value for key, value in spec.items() if key != "$schema"}
        assert altair.Chart.from_dict(chart).to_dict(), name
        chart["layer"][0]["mark"]["colour"] = "red"
        with pytest.raises(Exception, match="Failed validating"):
            altair.Chart.from_dict(chart)
