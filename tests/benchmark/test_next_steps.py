"""Next steps: each from a measurement, sorted by effort, or none at all."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.report.analysis import Analysis, analyse
from benchmark.report.collect import Comparison
from benchmark.report.learning_curves import CurveSection
from benchmark.report.next_steps import MAX_STEPS, Effort, Gain, Step, next_steps
from benchmark.report.pairs import Pair
from benchmark.report.rows import Row
from benchmark.report.sections import TITLES
from benchmark.report.slices import Slice, SliceFigures, Slices
from benchmark.report.statistics import Interval
from benchmark.report.write import read_report
from benchmark.runs.audits import store_audit
from benchmark.runs.record import RunRecord
from tests.benchmark.drawn_study import Made, make_study
from tests.benchmark.examples import make_record, make_spec
from tests.benchmark.predicted_runs import draw_test_set
from tests.benchmark.test_data_audit import audit_of
from tests.benchmark.test_learning_curves import judged, law, planted, trained
from tests.benchmark.test_report_contents import store_record, study_in, text
from tests.benchmark.test_tuning import record_of, trial

IMAGES = [625.0, 1250.0, 2500.0, 5000.0, 10000.0]


def analysed(root: Path, *records: RunRecord) -> Analysis:
    comparison = Comparison(list(records), [], [])
    return analyse(comparison, root)


def steps_of(analysis: Analysis, row: Row | None = None) -> list[Step]:
    return next_steps(analysis, row or analysis.rows[0])


def names_of(analysis: Analysis) -> list[str]:
    return [step.text for step in steps_of(analysis)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_study(tmp_path_factory.mktemp("steps"), ("resnet18", "vgg16"), (0,))


def of(made: Made) -> Analysis:
    return read_report(made.study).analyses[0]


def test_a_study_where_nothing_helps_says_so_and_what_was_not_measured(tmp_path: Path) -> None:
    store_record(tmp_path, make_record(make_spec(), 0.8, 1000))
    report = text(study_in(tmp_path))
    assert "### What to do next\n\nNo measurement supports a way to improve vgg16." in report
    assert "Not measured: runtimes and int8 (bench deploy), other image sizes" in report
    assert json.loads(text(study_in(tmp_path), "json"))["comparisons"][0]["next_steps"] == []


def test_longer_training_is_a_step_while_every_seed_still_gains(tmp_path: Path) -> None:
    falling, settled = [1.0, 0.9, 0.8, 0.7, 0.65, 0.6], [1.0, 0.7, 0.6, 0.5, 0.499, 0.51]
    seeds = [trained(falling), trained(falling)]
    seeds = [
        one.model_copy(update={"spec": (spec := make_spec(seed=n)), "run_id": spec.run_id})
        for n, one in enumerate(seeds)
    ]
    analysis = analysed(tmp_path / "both", *seeds)
    (step,) = steps_of(analysis)
    assert step.text.startswith("Train for more than ")
    assert "0.700" in step.gain
    assert "0.600" in step.gain
    other = trained(settled).model_copy(update={"spec": seeds[1].spec, "run_id": seeds[1].run_id})
    assert names_of(analysed(tmp_path / "one", seeds[0], other)) == []


def test_a_larger_size_is_a_step_only_if_it_is_apart(tmp_path: Path) -> None:
    small, large = (make_spec(image_size=size, several_sizes=True) for size in (112, 160))
    analysis = analysed(tmp_path, make_record(small, 0.80, 1000), make_record(large, 0.82, 1900))
    row = analysis.rows[1]
    assert (row.image_size, steps_of(analysis, row)) == (112, [])
    pair = Pair(0, 1, 0.02, Interval(0.01, 0.03), 9, 3, 0.01, 0.01, 0.01, 0.01, 0.004, 0.0, 2.0)
    (step,) = steps_of(dataclasses.replace(analysis, pairs={(0, 1): pair}), row)
    assert step.text == "Use images of 160 px instead of 112"
    assert (step.gain, step.effort_text) == ("+2.0 (1.0 to 3.0)", "1.9x the MACs")
    unsure = dataclasses.replace(pair, interval=Interval(-0.01, 0.05))
    assert steps_of(dataclasses.replace(analysis, pairs={(0, 1): unsure}), row) == []


def test_trials_that_still_gain_or_end_at_an_edge_are_steps(tmp_path: Path) -> None:
    gaining = record_of("a", trial(0.5), trial(0.6), trial(0.9), trial(0.2), chosen=2)
    (step,) = steps_of(analysed(tmp_path / "gaining", gaining))
    assert step.text == "Tune with more than 4 trials"
    edge = record_of("a", trial(0.5), trial(0.5, rate=0.09), chosen=1)
    (step,) = steps_of(analysed(tmp_path / "edge", edge))
    assert step.text == "Tune in a wider space"
    assert "upper edge" in step.gain
    same = record_of("a", trial(0.5, rate=0.003), trial(0.5, rate=0.003))
    assert names_of(analysed(tmp_path / "same", same)) == []


def test_suspected_labels_are_a_step(made: Made) -> None:
    analysis = of(made)
    assert analysis.test is not None
    data = analysis.comparison.records[0].spec.data_summary
    audit = audit_of(draw_test_set(9), list(analysis.test.ids[:3]))
    before = names_of(analysis)
    store_audit(made.root, audit.model_copy(update={"fingerprint": data.fingerprint}))
    result = [step for step in steps_of(of(made)) if step.text not in before]
    assert [(step.text, step.effort) for step in result] == [
        ("Check the 3 suspected labels", Effort.CHECK)
    ]


def with_curve(analysis: Analysis, errors: list[float]) -> Analysis:
    curve = judged(planted(errors, 1), analysis.rows[0].name)
    changed = dataclasses.replace(analysis)
    changed.__dict__["curves"] = CurveSection((curve,), ())
    return changed


def test_more_images_are_a_step_where_the_curve_still_rises(made: Made) -> None:
    images = np.array(IMAGES)
    rising = with_curve(of(made), law(images, 0.3, 0.5, 0.02))
    step = next(step for step in steps_of(rising) if step.section == "training_images")
    assert re.fullmatch(r"Label [\d,]+ more training images", step.text)
    assert step.known is not None
    assert 0 < step.known.low < step.known.value < step.known.high
    flat = with_curve(of(made), [0.2] * 5)
    assert all(step.section != "training_images" for step in steps_of(flat))


def test_a_slice_is_a_step_for_the_rows_that_are_weak_on_it(made: Made) -> None:
    analysis = of(made)
    assert analysis.test is not None
    weak = SliceFigures(0.5, Interval(0.4, 0.6), 0.9, 0.001)
    fine = SliceFigures(0.9, Interval(0.8, 1.0), 0.9, 0.9)
    count = len(analysis.test)
    slices = Slices((Slice("colour", "Pink", count // 4, {0: weak, 1: fine}, ()),))
    analysis = dataclasses.replace(analysis, slices=slices)
    step = next(step for step in steps_of(analysis) if step.section == "slices")
    assert step.text == "Label more training images of colour Pink"
    assert step.gain.startswith(f"at most {100 * 0.4 * (count // 4) / count:+.1f}")
    other = steps_of(analysis, analysis.rows[1])
    assert all(step.section != "slices" for step in other)


def step(effort: Effort, gain: float | None, units: float = 1.0) -> Step:
    known = None if gain is None else Gain(gain, gain, gain)
    return Step(f"{effort.name} {gain} {units}", "", effort, "", "pairs", known, units)


def test_least_effort_comes_first_then_the_largest_gain_per_unit() -> None:
    right = [
        step(Effort.NONE, 0.0),
        step(Effort.COMPUTE, 0.02, 2.0),
        step(Effort.COMPUTE, 0.03, 4.0),
        step(Effort.COMPUTE, None),
        step(Effort.CHECK, None),
        step(Effort.LABEL, 0.01, 100),
        step(Effort.LABEL, 0.05, 1000),
    ]
    assert (
        sorted([right[place] for place in (4, 1, 6, 0, 3, 5, 2)], key=lambda one: one.order)
        == right
    )


@pytest.mark.parametrize("form", ["md", "html"])
def test_every_step_links_to_its_measurement(tmp_path: Path, form: str) -> None:
    root = tmp_path / "runs"
    store_record(root, record_of("a", trial(0.5), trial(0.6), trial(0.9), trial(0.2), chosen=2))
    study = study_in(root, "a").model_copy(update={"tuning": record_of("a").spec.tuning})
    report = read_report(study).text(form)
    if form == "md":
        assert re.search(r"\| \[Tuning\]\(#tuning\) \|", report)
        assert "\n### Tuning\n" in report
        return
    links = re.findall(r'<a href="#([a-z_]+-0)">(?=Tuning</a>)', report)
    assert "tuning-0" in links
    assert 'id="tuning-0"' in report


def test_at_most_five_steps_are_shown(made: Made) -> None:
    many = with_curve(of(made), law(np.array(IMAGES), 0.3, 0.5, 0.02))
    assert len(steps_of(many)) <= MAX_STEPS
    assert {one.section for one in steps_of(many)} <= set(TITLES)
