"""Accuracy by slice: planted weak slices are found, none is reported where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmark.errors import ReportError
from benchmark.report.pick_rule import NO_CRITERIA
from benchmark.report.slice_columns import (
    PROPERTIES,
    background,
    brightness,
    quantile_names,
    sharpness,
)
from benchmark.report.slices import (
    LEVEL,
    MIN_IMAGES,
    OTHER,
    compare_slices,
    slice_masks,
    weakness_p_values,
)
from benchmark.report.write import Report, read_report
from tests.benchmark.conftest import StudyRun, run_bench
from tests.benchmark.drawn_study import Made, make_study

IMAGES, ROWS, VALUES = 1000, 3, 8


def draw_study(generator: np.random.Generator, drop: float) -> tuple[dict[str, list[str]], dict]:
    """Two columns and correct predictions; the first value of the first column is `drop` weaker.

    Which images are hard is the same for all rows.
    """
    columns = {
        name: [f"{name}{value}" for value in generator.integers(0, VALUES, IMAGES)]
        for name in ("a", "b")
    }
    is_weak = np.array([value == "a0" for value in columns["a"]])
    hard = generator.random(IMAGES)
    correct = {}
    for row in range(ROWS):
        own = 0.7 * hard + 0.3 * generator.random(IMAGES)
        bar = np.quantile(own, 0.15)
        correct[row] = ((own > bar) & ~(is_weak & (generator.random(IMAGES) < drop)))[None]
    return columns, correct


def found_in(
    generator: np.random.Generator, drop: float, groups: np.ndarray | None = None
) -> list[str]:
    columns, correct = draw_study(generator, drop)
    own = np.arange(IMAGES) if groups is None else groups
    result = compare_slices(columns, correct, own, margin=0.01)
    return [slice_.value for slice_ in result.weakest]


def test_a_planted_weak_slice_is_among_the_first_three() -> None:
    """In at least 19 of 20 studies: a fifth of the correct ones lost on an eighth of the images."""
    generator = np.random.default_rng(0)
    hits = sum("a0" in found_in(generator, 0.2)[:3] for _ in range(20))
    assert hits >= 19


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_of_a_thousand_studies_without_a_weak_slice_at_most_a_twentieth_reports_one(
    grouped: bool,
) -> None:
    """Also where a group of three images has one outcome and one value."""
    generator = np.random.default_rng(1)
    false = 0
    for _ in range(1000):
        columns, correct = draw_study(generator, 0.0)
        groups = np.arange(IMAGES)
        if grouped:
            groups //= 3
            first = 3 * groups
            columns = {name: [values[n] for n in first] for name, values in columns.items()}
            correct = {row: right[:, first] for row, right in correct.items()}
        masks = np.stack([m for c, v in columns.items() for m in slice_masks(c, v).values()])
        means = np.stack([right.mean(axis=0) for right in correct.values()])
        p_values = weakness_p_values(means, masks, groups, permutations=400)
        false += bool((p_values < LEVEL).any())
    print(f"{false} of 1000 report a weak slice")
    assert false <= 50


def test_seeds_are_averaged_and_equal_rows_are_equivalent() -> None:
    generator = np.random.default_rng(2)
    columns, correct = draw_study(generator, 0.2)
    same = {0: np.repeat(correct[0], 3, axis=0), 1: np.repeat(correct[0], 3, axis=0)}
    result = compare_slices({"a": columns["a"]}, same, np.arange(IMAGES), margin=0.01)
    for slice_ in result.all:
        mask = np.array([value == slice_.value for value in columns["a"]])
        assert slice_.images == mask.sum()
        assert slice_.figures[0].accuracy == pytest.approx(correct[0][0, mask].mean())
        assert slice_.figures[0].rest == pytest.approx(correct[0][0, ~mask].mean())
        (pair,) = slice_.pairs
        # So few images cannot show that two rows are equivalent within a point.
        assert (pair.difference, pair.verdict) == (0, "undecided")
    assert set(result.weakest[0].weak) == {0, 1}


def test_a_difference_on_one_slice_is_apart_there_alone() -> None:
    generator = np.random.default_rng(3)
    columns, correct = draw_study(generator, 0.0)
    on_slice = np.array([value == "a1" for value in columns["a"]])
    worse = correct[0] & ~(on_slice & (generator.random(IMAGES) < 0.4))
    rows = {0: correct[0], 1: worse}
    result = compare_slices({"a": columns["a"]}, rows, np.arange(IMAGES), margin=0.01)
    verdicts = {slice_.value: slice_.pairs[0].verdict for slice_ in result.all}
    assert verdicts.pop("a1") == "apart"
    assert "apart" not in verdicts.values()


def test_small_values_are_joined_and_a_single_value_is_refused() -> None:
    values = ["x"] * 50 + ["y"] * 30 + [f"rare{n}" for n in range(MIN_IMAGES)] + ["z"] * 5
    masks = slice_masks("c", values)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "x": 50, "y": 30, OTHER: MIN_IMAGES + 5
    }  # fmt: skip
    with pytest.raises(ReportError, match="--by c: all test images have one value, 'x'"):
        slice_masks("c", ["x"] * 50)
    with pytest.raises(ReportError, match="fewer than two slices"):
        slice_masks("c", [str(n) for n in range(60)])


def test_properties_of_images() -> None:
    dark = np.full((20, 20), 30.0)
    framed = np.full((20, 20), 255.0)
    framed[2:-2, 2:-2] = 0
    checks = np.indices((20, 20)).sum(axis=0) % 2 * 255.0
    images = np.stack([dark, framed, checks])
    assert brightness(images).tolist() == pytest.approx([30, 255 * 144 / 400, 127.5])
    assert background(images)[:2].tolist() == [30, 255]
    assert np.argsort(sharpness(images)).tolist() == [0, 1, 2]
    names = quantile_names(np.arange(100.0))
    assert [names.count(name) for name in dict.fromkeys(names)] == [25] * 4
    assert len(set(quantile_names(np.zeros(9)))) == 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_study(tmp_path_factory.mktemp("slices"), ("resnet18", "vgg16", "resnet34"), (0, 1))


def sliced(made: Made, *names: str) -> Report:
    return read_report(made.study, criteria=NO_CRITERIA).by(names)


def test_every_format_has_the_slices(made: Made) -> None:
    report = sliced(made, "masterCategory", "brightness")
    slices = report.analyses[0].slices
    assert slices is not None
    assert slices.columns == ("masterCategory", "brightness")
    by_category = slices.of("masterCategory")
    assert sum(result.images for result in by_category) == 198
    for form in ("md", "html", "latex"):
        text = report.text(form)
        for result in by_category:
            assert result.value in text
            accuracy = 100 * result.figures[0].accuracy
            assert f"{accuracy:.1f}" in text
    values = json.loads(report.text("json"))["comparisons"][0]["slices"]["all"]
    assert [item["value"] for item in values] == [result.value for result in slices.all]
    assert f"test_accuracy[masterCategory={by_category[0].value}]" in report.text("csv")
    assert "Accuracy by slice" not in read_report(made.study).text("md")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("seasn", "no column 'seasn'"),
        ("season", "one value"),
        ("productDisplayName", "fewer than two slices"),
        ("size", "one value"),
    ],
)
def test_a_column_without_slices_is_refused_in_one_sentence(
    made: Made, name: str, message: str
) -> None:
    with pytest.raises(ReportError, match=message) as caught:
        sliced(made, name)
    assert str(caught.value).startswith(f"--by {name}: ")
    assert "\n" not in str(caught.value)


def test_the_command_refuses_an_unknown_column(tiny_study: StudyRun) -> None:
    done = run_bench(tiny_study.folder, "report", "-c", "tiny.yaml", "--by", "baseColor")
    assert done.code == 2
    assert done.err.startswith("bench: --by baseColor: ")
    assert "did you mean baseColour?" in done.err
    assert len(done.err.splitlines()) == 1


def test_properties_are_quarters_in_their_order(made: Made) -> None:
    report = sliced(made, *PROPERTIES)
    slices = report.analyses[0].slices
    assert slices is not None
    for name in PROPERTIES:
        lowest = [float(result.value.split()[0]) for result in slices.of(name)]
        assert len(lowest) == 4
        assert lowest == sorted(lowest)
