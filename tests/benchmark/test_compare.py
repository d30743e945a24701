"""`bench compare`: the right runs, the right figures, and an exit code that CI can rely on."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from benchmark.cli import main
from benchmark.compare.fail_if import GRAMMAR, read_condition
from benchmark.config.study import load_study
from benchmark.errors import ReportError
from benchmark.report.pairs import p_text
from benchmark.report.write import read_report
from benchmark.runs import run_folder as files
from benchmark.runs.find import find_run, with_teachers_by_id
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from clothclf.results import MeasuredCost, Weights
from clothclf.settings import DataSettings, HeadSettings, ModelSettings, TrainSettings
from clothclf.settings.training import TeacherSettings
from tests.benchmark.conftest import StudyRun, run_bench
from tests.benchmark.examples import make_measured, make_record, make_spec
from tests.benchmark.predicted_runs import (
    DrawnImages,
    draw_predictions,
    draw_test_set,
    store_predicted_run,
)

COUNT = 400
Compare = Callable[..., Result]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """`bench compare …` in a folder with study.yaml, whose runs lie below `mlruns`."""
    write_study(tmp_path / "study.yaml")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, config: str = "study.yaml") -> Result:
        # The errors' way out is the group's; the runner keeps both streams apart.
        return CliRunner().invoke(main, ["compare", *arguments, "-c", config])

    return run


def write_study(path: Path, folder: str = "mlruns", more: str = "") -> None:
    path.write_text(
        f"study: s\narchitectures: [vgg16, resnet18]\ntracking: {{folder: {folder}}}\n{more}"
    )


def right(share: float, count: int = COUNT) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The first `share` of images."""
    return np.arange(count) < round(share * count)


def store_run(
    root: Path,
    share: float = 0.9,
    images: DrawnImages | None = None,
    answers_seed: int = 0,
    **changes: Any,
) -> RunRecord:
    """A run that has the first `share` of the test images right."""
    images = images or draw_test_set(COUNT)
    count = len(images.ids)
    shares = draw_predictions(
        images.targets, right(share, count), len(images.classes), answers_seed
    )
    return store_predicted_run(root, images, shares, **changes)


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# Two runs


def test_two_runs_by_name(compare: Compare, tmp_path: Path) -> None:
    """The new one has 5 % fewer right, and no image that the baseline has not."""
    images = draw_test_set(COUNT, duplicates=40)
    first = store_run(tmp_path / "mlruns", 0.90, images, macs=4 * 10**9)
    second = store_run(
        tmp_path / "mlruns", 0.85, images, architecture="resnet18", macs=10**9, answers_seed=1
    )
    result = compare("vgg16-s0", "resnet18-s0", "--format", "json")
    (contrast,) = as_json(result)["contrasts"]
    assert contrast["accuracy"]["baseline"] == first.test.accuracy == 0.9
    assert contrast["accuracy"]["new"] == second.test.accuracy == 0.85
    assert contrast["accuracy"]["difference"] == pytest.approx(-0.05)
    low, high = contrast["accuracy"]["interval"]
    assert low < -0.05 < high < 0
    assert (contrast["only_baseline_right"], contrast["only_new_right"]) == (20, 0)
    assert contrast["mcnemar_p"] == pytest.approx(stats.binomtest(0, 20).pvalue, abs=1e-9)
    assert contrast["bootstrap_p"] < 0.001
    assert contrast["paired"] is True
    assert contrast["verdict"] == "apart"
    assert contrast["costs"]["macs"]["ratio"] == 0.25
    assert contrast["costs"]["params"]["ratio"] == 0.25


def test_macro_f1_is_that_of_the_record_and_of_scikit_learn(
    compare: Compare, tmp_path: Path
) -> None:
    images = draw_test_set(COUNT)
    shares = draw_predictions(images.targets, right(0.8), 3)
    store_predicted_run(tmp_path / "mlruns", images, shares)
    store_run(tmp_path / "mlruns", 0.85, images, architecture="resnet18")
    (contrast,) = as_json(compare("vgg16-s0", "resnet18-s0", "--format", "json"))["contrasts"]
    expected = metrics.f1_score(images.targets, shares.argmax(axis=1), average="macro")
    assert contrast["macro_f1"]["baseline"] == pytest.approx(expected, abs=1e-9)
    low, high = contrast["macro_f1"]["interval"]
    assert low < contrast["macro_f1"]["difference"] < high


def test_swapping_the_two_negates_the_difference_and_keeps_p(
    compare: Compare, tmp_path: Path
) -> None:
    store_run(tmp_path / "mlruns", 0.9)
    store_run(tmp_path / "mlruns", 0.88, architecture="resnet18", answers_seed=1)
    (ahead,) = as_json(compare("vgg16-s0", "resnet18-s0", "--format", "json"))["contrasts"]
    (behind,) = as_json(compare("resnet18-s0", "vgg16-s0", "--format", "json"))["contrasts"]
    for figure in ("accuracy", "macro_f1"):
        assert ahead[figure]["difference"] == -behind[figure]["difference"]
        low, high = behind[figure]["interval"]
        assert ahead[figure]["interval"] == pytest.approx([-high, -low], abs=1e-9)
    assert ahead["mcnemar_p"] == behind["mcnemar_p"]
    assert ahead["bootstrap_p"] == pytest.approx(behind["bootstrap_p"], abs=1e-9)


THREE = {"vgg16": 0.9, "resnet18": 0.885, "resnet34": 0.8825}
"""Of 400 images, the first has 6 right that the second has not: by itself p = 0.03."""


def test_compare_and_report_give_one_answer_for_a_pair(compare: Compare, tmp_path: Path) -> None:
    """Both adjust for the pairs of the report; what one test alone gives is said beside it."""
    for name, share in THREE.items():
        store_run(tmp_path / "mlruns", share, architecture=name)
    asked = ("vgg16-s0", "resnet18-s0")
    (contrast,) = as_json(compare(*asked, "--format", "json"))["contrasts"]
    report = read_report(load_study(Path("study.yaml")), Path("study.yaml")).analyses[0]
    pair = report.pairs[0, 1]
    assert [row.name for row in report.rows[:2]] == ["vgg16", "resnet18"]
    assert contrast["mcnemar_p"] == pair.mcnemar_p == 0.03125
    assert contrast["mcnemar_adjusted"] == pair.mcnemar_adjusted
    assert contrast["bootstrap_adjusted"] == pair.bootstrap_adjusted
    assert (contrast["verdict"], contrast["adjusted_for"]) == (pair.verdict, 3) == ("undecided", 3)
    shown = " ".join(compare(*asked).stdout.split())
    assert "Undecided whether resnet18-s0 or vgg16-s0 is more accurate: -1.50 points" in shown
    assert f"{p_text(pair.p)}, adjusted for the 3 pairs of the study's report" in shown
    assert "Unadjusted: exact McNemar p = 0.03" in shown


def test_a_run_that_was_copied_is_compared_by_one_test(compare: Compare, tmp_path: Path) -> None:
    for name, share in THREE.items():
        store_run(tmp_path / "mlruns", share, architecture=name)
    shutil.copytree(next((tmp_path / "mlruns/runs/s").glob("vgg16-s0*")), tmp_path / "kept")
    (contrast,) = as_json(compare("kept", "resnet18-s0", "--format", "json"))["contrasts"]
    assert (contrast["verdict"], contrast["adjusted_for"]) == ("apart", 1)


def test_what_the_report_says_over_all_seeds_is_said_of_two_runs(
    compare: Compare, tmp_path: Path
) -> None:
    for name, share in THREE.items():
        for seed in (0, 1):
            store_run(tmp_path / "mlruns", share, architecture=name, seed=seed)
    shown = " ".join(compare("vgg16-s0", "resnet18-s0").stdout.split())
    assert "in the report of study s: undecided, -1.50 points" in shown
    assert "adjusted for 3 pairs." in shown
    (contrast,) = as_json(compare("vgg16-s0", "resnet18-s0", "--format", "json"))["contrasts"]
    assert contrast["adjusted_for"] == 1


def test_a_run_is_equivalent_to_itself(compare: Compare, tmp_path: Path) -> None:
    record = store_run(tmp_path / "mlruns", 0.9)
    result = compare("vgg16-s0", record.run_id)
    assert result.exit_code == 0
    assert "vgg16-s0 and vgg16-s0 are equivalent within 1 point: +0.00 points" in result.stdout
    assert "No configuration differences." in result.stdout


def test_the_same_images_at_another_size_are_the_same_test(
    compare: Compare, tmp_path: Path
) -> None:
    store_run(tmp_path / "mlruns", 0.9)
    other = store_run(tmp_path / "mlruns", 0.88, data=DataSettings(image_size=64))
    first = RunFolder.of(tmp_path / "mlruns", make_spec()).path.parent
    names = sorted(path.name for path in first.iterdir() if other.run_id not in path.name)
    (contrast,) = as_json(compare(names[0], other.run_id, "--format", "json"))["contrasts"]
    assert contrast["paired"] is True


def test_each_difference_of_configuration_is_listed(compare: Compare, tmp_path: Path) -> None:
    store_run(tmp_path / "mlruns")
    record = store_run(
        tmp_path / "mlruns",
        seed=1,
        head=HeadSettings(hidden=8),
        train=TrainSettings(epochs=3, learning_rate=0.5),
        weights=Weights("file", "a.safetensors", "ab" * 32, Path("a.safetensors")),
    )
    environment = record.environment.model_copy(update={"versions": {"torch": "3.0"}})
    folder = RunFolder.of(tmp_path / "mlruns", record.spec)
    folder.write(files.RECORD, record.model_copy(update={"environment": environment}))
    result = as_json(compare("vgg16-s0", "vgg16-h8-s1", "--format", "json"))["settings"]
    assert {item["key"]: (item["baseline"], item["new"]) for item in result} == {
        "seed": ("0", "1"),
        "model.head.hidden": ("-", "8"),
        "train.epochs": ("10", "3"),
        "train.learning_rate": ("0.001", "0.5"),
        "start.weights": ("random", "a.safetensors"),
        "start.origin": ("random", "file"),
        "start.sha256": ("-", "abababababab"),
        "environment.versions.torch": ("-", "3.0"),
    }


# Costs


def compared_costs(
    compare: Compare, root: Path, first: MeasuredCost | None, second: MeasuredCost | None
) -> dict[str, Any]:
    store_run(root, measured=first)
    store_run(root, architecture="resnet18", measured=second)
    (contrast,) = as_json(compare("vgg16-s0", "resnet18-s0", "--format", "json"))["contrasts"]
    costs: dict[str, Any] = contrast["costs"]
    return costs


def test_latencies_have_a_ratio_where_they_were_measured_alike(
    compare: Compare, tmp_path: Path
) -> None:
    costs = compared_costs(compare, tmp_path / "mlruns", make_measured(5.0), make_measured(6.0))
    assert costs["latency"]["ratio"] == pytest.approx(1.2)
    assert costs["time"]["ratio"] == 1


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (None, "resnet18 was not measured"),
        (make_measured(6.0, busy="a guest had a core"), "on a busy machine: a guest had a core"),
        (dataclasses.replace(make_measured(6.0), threads=4), "2 threads.* and on .*4 threads"),
        (dataclasses.replace(make_measured(6.0), precision="bfloat16"), "bfloat16"),
    ],
)
def test_latencies_that_were_not_measured_alike_have_none(
    compare: Compare, tmp_path: Path, second: MeasuredCost | None, why: str
) -> None:
    costs = compared_costs(compare, tmp_path / "mlruns", make_measured(5.0), second)
    assert costs["latency"]["ratio"] is None
    assert re.search(why, costs["latency"]["no_ratio_because"])
    shown = compare("vgg16-s0", "resnet18-s0").stdout
    assert re.search(rf"No ratio of latency: .*{why}", shown)
    failed = compare("vgg16-s0", "resnet18-s0", "--fail-if", "latency rises 20 %")
    assert failed.exit_code == 2
    assert re.search(rf"cannot be evaluated for .*{why}", failed.stderr)


def test_two_processors_are_not_alike_though_both_are_cpu(compare: Compare, tmp_path: Path) -> None:
    store_run(tmp_path / "mlruns", measured=make_measured(5.0))
    record = store_run(tmp_path / "mlruns", architecture="resnet18", measured=make_measured(6.0))
    environment = record.environment.model_copy(update={"processor": "another"})
    folder = RunFolder.of(tmp_path / "mlruns", record.spec)
    folder.write(files.RECORD, record.model_copy(update={"environment": environment}))
    (contrast,) = as_json(compare("vgg16-s0", "resnet18-s0", "--format", "json"))["contrasts"]
    assert contrast["costs"]["latency"]["ratio"] is None
    assert contrast["costs"]["time"]["no_ratio_because"] == (
        "trained on different machines or with a different number of processes"
    )


# Unlike test sets


def changed(images: DrawnImages, **values: Any) -> DrawnImages:
    return dataclasses.replace(images, **values)


BASE = draw_test_set(COUNT)
UNLIKE = {
    "400 and 399 images, 399 of them": changed(
        BASE, ids=BASE.ids[1:], targets=BASE.targets[1:], hashes=BASE.hashes[1:]
    ),
    "400 of 400 have different labels": changed(BASE, targets=(BASE.targets + 1) % 3),
    "400 of 400 have different pixels": changed(BASE, hashes=tuple(f"x{h}" for h in BASE.hashes)),
    "3 and 3 classes, not identical": changed(BASE, classes=("a", "b", "d")),
}


@pytest.mark.parametrize("why", UNLIKE)
def test_unlike_test_sets_are_refused_unless_unpaired(
    compare: Compare, tmp_path: Path, why: str
) -> None:
    store_run(tmp_path / "mlruns", 0.9)
    store_run(tmp_path / "mlruns", 0.8, UNLIKE[why], architecture="resnet18")
    refused = compare("vgg16-s0", "resnet18-s0")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert f"different test images ({why}" in refused.stderr
    assert "--unpaired" in refused.stderr
    assert refused.stderr.count("\n") == 1

    shown = compare("vgg16-s0", "resnet18-s0", "--unpaired")
    assert shown.exit_code == 0
    assert f"Unpaired: the test sets differ ({why}" in shown.stdout
    assert "independent samples" in shown.stdout
    result = as_json(compare("vgg16-s0", "resnet18-s0", "--unpaired", "--format", "json"))
    (contrast,) = result["contrasts"]
    assert contrast["paired"] is False
    assert contrast["mcnemar_p"] is contrast["only_new_right"] is None


def test_unpaired_is_as_wide_as_independent_samples_are(compare: Compare, tmp_path: Path) -> None:
    """As sure as the z test of two proportions without pooling; draws have nothing in common."""
    store_run(tmp_path / "mlruns", 0.90, draw_test_set(1000, seed=1))
    store_run(tmp_path / "mlruns", 0.87, draw_test_set(1000, seed=2), architecture="resnet18")
    asked = ("vgg16-s0", "resnet18-s0", "--unpaired", "--format", "json")
    (contrast,) = as_json(compare(*asked))["contrasts"]
    error = (0.9 * 0.1 / 1000 + 0.87 * 0.13 / 1000) ** 0.5
    low, high = contrast["accuracy"]["interval"]
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert contrast["bootstrap_p"] == pytest.approx(2 * stats.norm.sf(0.03 / error), abs=0.01)


def test_unpaired_still_pairs_what_can_be_paired(compare: Compare, tmp_path: Path) -> None:
    store_run(tmp_path / "mlruns", 0.9)
    store_run(tmp_path / "mlruns", 0.8, architecture="resnet18")
    result = as_json(compare("vgg16-s0", "resnet18-s0", "--unpaired", "--format", "json"))
    assert result["contrasts"][0]["paired"] is True


# Which runs


def test_a_run_is_known_by_many_names(compare: Compare, tmp_path: Path) -> None:
    """run_id, its beginning, name, the folder's name, and the folder, wherever it was copied."""
    record = store_run(tmp_path / "mlruns")
    folder = RunFolder.of(tmp_path / "mlruns", record.spec).path
    shutil.copytree(folder, tmp_path / "elsewhere" / "baseline")
    names = [record.run_id, record.run_id[:6], "vgg16-s0", folder.name, str(folder)]
    for name in [*names, "elsewhere/baseline"]:
        result = as_json(compare("vgg16-s0", name, "--format", "json"))
        assert result["contrasts"][0]["new"]["run_ids"] == [record.run_id], name


def test_two_folders_need_no_study(compare: Compare, tmp_path: Path) -> None:
    record = store_run(tmp_path / "mlruns")
    path = str(RunFolder.of(tmp_path / "mlruns", record.spec).path)
    assert compare(path, path, config="missing.yaml").exit_code == 0


def test_an_unknown_run_is_reported_with_the_nearest_names(
    compare: Compare, tmp_path: Path
) -> None:
    store_run(tmp_path / "mlruns")
    result = compare("vgg16-s0", "vgg19-s0")
    assert result.exit_code == 2
    assert "study 's' has no run 'vgg19-s0'" in result.stderr
    assert "did you mean vgg16-s0" in result.stderr


@pytest.mark.parametrize("name", ["", "x" * 300, "x/" * 5000, "\0", "a\nb", "../..", "[bold]"])
def test_odd_names_of_runs_are_user_errors(compare: Compare, tmp_path: Path, name: str) -> None:
    """Exit code 1 is for conditions that hold."""
    store_run(tmp_path / "mlruns")
    for asked in ((name, "vgg16-s0"), ("vgg16-s0", name)):
        result = compare(*asked)
        assert result.exit_code == 2
        assert result.stderr.startswith("bench: ")
        assert len(result.stderr) < 1000


def test_a_study_without_runs_says_so(compare: Compare) -> None:
    result = compare("vgg16-s0", "resnet18-s0")
    assert result.exit_code == 2
    assert "it has no runs" in result.stderr


def test_a_name_of_several_runs_lists_them(compare: Compare, tmp_path: Path) -> None:
    records = [
        store_run(tmp_path / "mlruns", train=TrainSettings(epochs=number)) for number in (1, 2, 3)
    ]
    result = compare("vgg16-s0", records[0].run_id)
    assert result.exit_code == 2
    assert "matches 3 runs" in result.stderr
    told_apart = [f"vgg16-s0 ({records[n - 1].run_id}, epochs={n})" for n in (1, 2, 3)]
    assert all(title in result.stderr for title in told_apart)


def test_a_name_of_several_runs_means_the_one_of_the_given_settings(
    compare: Compare, tmp_path: Path
) -> None:
    """A second learning rate, and other weights, which are not part of the protocol."""
    root = tmp_path / "mlruns"
    plain = store_run(root)
    rate = store_run(root, train=TrainSettings(learning_rate=0.01))
    weights = {"weights": Weights("pretrained", "pretrained", "1" * 64, None)}
    asked = store_run(root, model=ModelSettings(weights="pretrained"), **weights)
    for options, record in (
        ((), plain),
        (("--set", "train.learning_rate=0.01"), rate),
        (("--set", "model.weights=pretrained"), asked),
    ):
        result = as_json(compare(rate.run_id, "vgg16-s0", *options, "--format", "json"))
        assert result["contrasts"][0]["new"]["run_ids"] == [record.run_id], options


def test_a_teacher_of_its_students_name_is_the_run_without_a_teacher(tmp_path: Path) -> None:
    """The settings of a study with a teacher would make the student."""
    root, whole = tmp_path / "mlruns", {"model": ModelSettings(mode="finetune")}
    teacher = store_run(root, **whole)
    taught = TrainSettings(teacher=TeacherSettings(runs=(teacher.run_id,)))
    student = store_run(root, train=taught, **whole)
    assert student.spec.name == teacher.spec.name
    more = "model: {mode: finetune}\ntrain: {teacher: {runs: [vgg16-s0]}}\n"
    write_study(tmp_path / "study.yaml", str(root), more)
    study = with_teachers_by_id(load_study(tmp_path / "study.yaml"))
    assert study.train.teacher.runs == (teacher.run_id,)
    assert find_run("vgg16-s0", lambda: study).record.run_id == student.run_id


def test_a_beginning_of_several_run_ids_lists_them(compare: Compare, tmp_path: Path) -> None:
    by_digit: dict[str, list[str]] = {}
    for number in range(1, 40):
        record = store_run(tmp_path / "mlruns", images=BASE, train=TrainSettings(epochs=number))
        by_digit.setdefault(record.run_id[0], []).append(record.run_id)
        several = by_digit[record.run_id[0]]
        if len(several) > 1:
            break
    result = compare(several[0], several[0][0])
    assert result.exit_code == 2
    assert all(run_id in result.stderr for run_id in several)


def fail(root: Path, architecture: str) -> None:
    spec = make_spec(architecture)
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    reason = "the loss is not finite"
    failure = Failure(
        run_id=spec.run_id, spec=spec, stage="train", reason=reason, log_tail="", at="2024"
    )
    folder.write(files.FAILURE, failure)


def test_runs_that_did_not_end_well_are_named_so(compare: Compare, tmp_path: Path) -> None:
    root = tmp_path / "mlruns"
    store_run(root)
    fail(root, "resnet18")
    RunFolder.of(root, make_spec("resnet34")).start(make_spec("resnet34"))
    damaged = RunFolder.of(root, store_run(root, architecture="resnet50").spec).path / files.RECORD
    damaged.write_text(damaged.read_text().replace('"accuracy": 0.9', '"accuracy": 0.99'))
    for name, reason in (
        ("resnet18-s0", "failed in train: the loss is not finite; `bench run --retry-failed`"),
        ("resnet34-s0", "is unfinished; `bench run` resumes it"),
        ("resnet50-s0", "record is damaged"),
    ):
        result = compare("vgg16-s0", name)
        assert result.exit_code == 2
        assert reason in result.stderr
        assert name in result.stderr


def test_answers_that_are_not_what_the_run_wrote_are_refused(
    compare: Compare, tmp_path: Path
) -> None:
    root = tmp_path / "mlruns"
    record = store_run(root)
    other = store_run(root, 0.8, architecture="resnet18")
    for name in (files.PREDICTIONS, files.MANIFEST):
        path = RunFolder.of(root, record.spec).path / name
        before = path.read_bytes()
        path.write_bytes((RunFolder.of(root, other.spec).path / name).read_bytes() + b"x")
        result = compare("vgg16-s0", "resnet18-s0")
        assert result.exit_code == 2
        assert f"{path}: has changed since the run wrote it" in result.stderr
        path.write_bytes(before)


def test_a_record_without_predictions_is_refused(compare: Compare, tmp_path: Path) -> None:
    root = tmp_path / "mlruns"
    store_run(root)
    spec = make_spec("resnet18")
    folder = RunFolder.of(root, spec)
    folder.start(spec)
    folder.write(files.RECORD, make_record(spec, 0.8, 1000))
    result = compare("vgg16-s0", "resnet18-s0")
    assert result.exit_code == 2
    assert "the run did not save manifest.parquet" in result.stderr


def test_a_folder_that_is_no_run_is_reported(compare: Compare, tmp_path: Path) -> None:
    store_run(tmp_path / "mlruns")
    result = compare("vgg16-s0", "mlruns")
    assert result.exit_code == 2
    assert "mlruns: is not a run folder" in result.stderr


# Two studies


@pytest.fixture
def studies(compare: Compare, tmp_path: Path) -> Compare:
    """old.yaml and new.yaml, with stores of their own; the new one's resnet18 is worse."""
    for name, shares in (
        ("old", {"vgg16": 0.9, "resnet18": 0.85, "resnet34": 0.8}),
        ("new", {"vgg16": 0.905, "resnet18": 0.78, "resnet50": 0.8}),
    ):
        more = "train: {epochs: 3}\n" if name == "new" else ""
        write_study(tmp_path / f"{name}.yaml", name, more)
        recipe = TrainSettings(epochs=3) if name == "new" else TrainSettings()
        for architecture, share in shares.items():
            for seed in (0, 1):
                store_run(
                    tmp_path / name,
                    share + 0.005 * seed,
                    BASE,
                    seed + len(name + architecture),
                    architecture=architecture,
                    seed=seed,
                    train=recipe,
                )
    return compare


def test_two_studies_are_matched_by_architecture(studies: Compare) -> None:
    result = as_json(studies("old.yaml", "new.yaml", "--format", "json"))
    by_name = {item["name"]: item for item in result["contrasts"]}
    assert set(by_name) == {"vgg16", "resnet18"}
    assert by_name["vgg16"]["verdict"] == "undecided"
    worse = by_name["resnet18"]
    assert worse["accuracy"]["difference"] == pytest.approx(-0.07)
    assert worse["verdict"] == "apart"
    assert worse["baseline"]["seeds"] == worse["new"]["seeds"] == [0, 1]
    assert result["only_baseline"] == ["resnet34"]
    assert result["only_new"] == ["resnet50"]
    assert worse["mcnemar_adjusted"] == pytest.approx(2 * worse["mcnemar_p"])
    assert [item["key"] for item in result["settings"]] == ["train.epochs"]
    assert result["settings"][0]["of"] == []


def test_studies_as_text_list_what_is_only_in_one(studies: Compare) -> None:
    for form in ("table", "md"):
        text = studies("old.yaml", "new.yaml", "--format", form).stdout
        assert "Only in the baseline: resnet34." in text
        assert "Only in the new study: resnet50." in text
        assert re.search(r"resnet18 .*85\.25 %.*78\.25 %.*-7\.00 .*worse", text)
        assert re.search(r"vgg16 .*\+0\.50 .*undecided", text)
        assert "Intervals and p-values are adjusted for 2 architectures." in text


def test_a_difference_that_holds_for_one_architecture_alone_names_it(
    compare: Compare, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        write_study(tmp_path / f"{name}.yaml", name)
        for architecture in ("vgg16", "resnet18"):
            record = store_run(tmp_path / name, architecture=architecture)
            versions = {"torch": "3.0" if (name, architecture) == ("new", "vgg16") else "2.0"}
            environment = record.environment.model_copy(update={"versions": versions})
            RunFolder.of(tmp_path / name, record.spec).write(
                files.RECORD, record.model_copy(update={"environment": environment})
            )
    result = as_json(compare("old.yaml", "new.yaml", "--format", "json"))
    (item,) = result["settings"]
    assert (item["key"], item["of"]) == ("environment.versions.torch", ["vgg16"])


def test_starts_of_one_architecture_are_kept_apart(compare: Compare, tmp_path: Path) -> None:
    weights = Weights("file", "a.safetensors", "ab" * 32, Path("a.safetensors"))
    for name in ("old", "new"):
        write_study(tmp_path / f"{name}.yaml", name)
        store_run(tmp_path / name, 0.7)
        store_run(tmp_path / name, 0.9, weights=weights)
    result = as_json(compare("old.yaml", "new.yaml", "--format", "json"))
    names = [item["name"] for item in result["contrasts"]]
    assert names == ["vgg16 (a.safetensors, float32)", "vgg16 (random, float32)"]
    assert [item["accuracy"]["difference"] for item in result["contrasts"]] == [0, 0]


def test_an_architecture_that_failed_in_the_new_study_is_reported_and_not_passed(
    studies: Compare, tmp_path: Path
) -> None:
    spec = make_spec("resnet34", train=TrainSettings(epochs=3), data_summary=last_summary(tmp_path))
    folder = RunFolder.of(tmp_path / "new", spec)
    folder.start(spec)
    failure = Failure(
        run_id=spec.run_id, spec=spec, stage="train", reason="no luck", log_tail="", at="2024"
    )
    folder.write(files.FAILURE, failure)
    shown = studies("old.yaml", "new.yaml")
    assert shown.exit_code == 0
    assert "Only in the baseline: resnet34 (failed in train: no luck)." in shown.stdout
    judged = studies("old.yaml", "new.yaml", "--fail-if", "accuracy drops 50")
    assert judged.exit_code == 2
    assert "cannot be evaluated for resnet34 (failed in train: no luck)" in judged.stderr


def last_summary(root: Path) -> Any:
    (record,) = {
        folder.record().spec.data_summary.fingerprint: folder.record()
        for path in (root / "new" / "runs" / "s").iterdir()
        if (folder := RunFolder(path)).record()
    }.values()
    return record.spec.data_summary


def test_a_study_and_a_run_cannot_be_compared(studies: Compare) -> None:
    result = studies("old.yaml", "vgg16-s0")
    assert result.exit_code == 2
    assert "give two runs or two configs" in result.stderr


def test_studies_without_runs_or_without_common_ones_are_reported(
    studies: Compare, tmp_path: Path
) -> None:
    write_study(tmp_path / "empty.yaml", "empty")
    result = studies("old.yaml", "empty.yaml")
    assert result.exit_code == 2
    assert "empty.yaml: no finished runs with these settings" in result.stderr
    write_study(tmp_path / "alone.yaml", "alone")
    store_run(tmp_path / "alone", architecture="convnext")
    result = studies("old.yaml", "alone.yaml")
    assert result.exit_code == 2
    assert "no finished architecture in common" in result.stderr
    assert studies("old.yaml", "missing.yaml").exit_code == 2


# --fail-if


@pytest.fixture
def runs(compare: Compare, tmp_path: Path) -> Compare:
    """vgg16-s0, and resnet18-s0 with 2 points less and 20 % more of everything."""
    root = tmp_path / "mlruns"
    store_run(root, 0.90, macs=10**9, measured=make_measured(5.0))
    store_run(root, 0.88, macs=12 * 10**8, measured=make_measured(6.0), architecture="resnet18")
    return compare


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("accuracy drops 1.9", 1),
        ("accuracy drops 2", 0),  # just the limit is not beyond it
        ("accuracy drops 2.0 points", 0),
        ("accuracy drop 0", 1),
        ("Macro-F1  drops 0.5", 1),
        ("macro-f1 drops 10", 0),
        ("macs rise 19 %", 1),
        ("macs rise 20 %", 0),
        ("params rise 10%", 1),
        ("params rise 30 %", 0),
        ("latency rises 19.9 %", 1),
        ("latency rises 20 %", 0),
    ],
)
def test_a_condition_that_holds_fails_with_one_sentence(
    runs: Compare, condition: str, code: int
) -> None:
    result = runs("vgg16-s0", "resnet18-s0", "--fail-if", condition)
    assert result.exit_code == code, result.stderr
    assert result.stderr.count("\n") == code
    assert "88.00 %" in result.stdout


def test_better_is_no_failure(runs: Compare) -> None:
    asked = ["--fail-if", "accuracy drops 0", "--fail-if", "macs rise 0 %"]
    assert runs("resnet18-s0", "vgg16-s0", *asked).exit_code == 0


def test_each_condition_that_holds_has_its_sentence(runs: Compare) -> None:
    asked = ["--fail-if", "accuracy drops 1", "--fail-if", "macs rise 10 %"]
    asked += ["--fail-if", "params rise 50 %"]
    result = runs("vgg16-s0", "resnet18-s0", *asked)
    assert result.exit_code == 1
    accuracy, macs = result.stderr.splitlines()
    assert accuracy == (
        "bench: resnet18-s0 vs. vgg16-s0: accuracy drops 2.00 points, more than 1, "
        "from 90.00 to 88.00"
    )
    assert "MACs rise 20.0 %, more than 10 %, from 1.000 G to 1.200 G" in macs
    assert "**Failed**" in runs("vgg16-s0", "resnet18-s0", *asked, "--format", "md").stdout
    written = runs("vgg16-s0", "resnet18-s0", *asked, "--format", "json").stdout
    assert len(json.loads(written)["fails"]) == 2


def test_certain_lets_pass_what_may_be_chance(compare: Compare, tmp_path: Path) -> None:
    """One point on 400 images is within chance where as many go either way; 8 points are not."""
    root, images = tmp_path / "mlruns", draw_test_set(COUNT)
    store_run(root, 0.90, images)
    places = np.roll(right(0.89), 20)
    store_predicted_run(root, images, draw_predictions(images.targets, places, 3), "resnet18")
    store_run(root, 0.82, images, architecture="resnet34")
    asked = ["--fail-if", "accuracy drops 0.5"]
    assert compare("vgg16-s0", "resnet18-s0", *asked).exit_code == 1
    assert compare("vgg16-s0", "resnet18-s0", *asked, "--certain").exit_code == 0
    sure = compare("vgg16-s0", "resnet34-s0", *asked, "--certain")
    assert sure.exit_code == 1
    assert re.search(r"at least \d\.\d\d with 95 % confidence", sure.stderr)


def test_certain_without_a_condition_is_reported(runs: Compare) -> None:
    result = runs("vgg16-s0", "resnet18-s0", "--certain")
    assert result.exit_code == 2
    assert "--certain" in result.stderr


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "accuracy",
        "accuracy drops",
        "accuracy drops 0.5 %",  # of itself, or points?
        "accuracy drops -1",
        "accuracy drops nan",
        "accuracy rises 1",
        "macs rise 10",  # MACs, or per cent?
        "macs drop 10 %",
        "recall drops 1",
        "accuracy drops 1 and macs rise 10 %",
        "accuracy drops " + "9" * 1000,
    ],
)
def test_a_condition_that_cannot_be_read_is_reported_before_anything_is_looked_for(
    compare: Compare, condition: str
) -> None:
    result = compare("nothing", "there", "--fail-if", condition)
    assert result.exit_code == 2
    assert GRAMMAR in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 500


@given(st.text())
@settings(deadline=None)
def test_any_text_is_a_condition_or_a_user_error(text: str) -> None:
    try:
        condition = read_condition(text)
    except ReportError as error:
        assert GRAMMAR in str(error)  # noqa: PT017 - either way is right
    else:
        assert condition.limit >= 0


def test_a_missing_figure_is_an_error_and_what_holds_is_reported_beside_it(
    compare: Compare, tmp_path: Path
) -> None:
    store_run(tmp_path / "mlruns", 0.9, macs=None)
    store_run(tmp_path / "mlruns", 0.8, architecture="resnet18")
    asked = ["--fail-if", "macs rise 10 %", "--fail-if", "accuracy drops 1"]
    result = compare("vgg16-s0", "resnet18-s0", *asked)
    assert result.exit_code == 2
    assert "accuracy drops 10.00 points" in result.stderr
    assert "'macs rise 10 %' cannot be evaluated" in result.stderr
    assert "costs of vgg16 were not counted: not tried" in result.stderr


def test_studies_are_judged_architecture_by_architecture(studies: Compare, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "old")
    for architecture, share in (("vgg16", 0.9), ("resnet18", 0.85)):
        store_run(tmp_path / "old", share, BASE, architecture=architecture)
    result = studies("old.yaml", "new.yaml", "--fail-if", "accuracy drops 1")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("bench: resnet18: accuracy drops")


# How it is written


def test_the_table_is_read_at_a_glance(runs: Compare, tmp_path: Path) -> None:
    shown = runs("vgg16-s0", "resnet18-s0").stdout
    assert "resnet18-s0 is 2.00 points less accurate than vgg16-s0 (" in shown
    assert re.search(r"accuracy +90\.00 % +88\.00 % +-2\.00 points \(-[\d.]+ to -[\d.]+\)", shown)
    assert re.search(r"images correct on one side only +8 +0", shown)
    assert re.search(r"MACs +1\.000 G +1\.200 G +x 1\.2", shown)
    assert re.search(r"latency +5\.00 ms +6\.00 ms +x 1\.2", shown)
    assert re.search(r"training time +2 s +2 s +same", shown)
    assert re.search(r"architecture +vgg16 +resnet18", shown)
    assert "Unadjusted: exact McNemar p = 0.0078" in " ".join(shown.split())


def test_it_is_written_to_a_file(runs: Compare, tmp_path: Path) -> None:
    result = runs("vgg16-s0", "resnet18-s0", "-o", "out/change.md")
    assert result.exit_code == 0
    assert result.stdout == ""
    text = (tmp_path / "out" / "change.md").read_text()
    assert text.startswith("# resnet18-s0 (")
    assert "| accuracy | 90.00 % | 88.00 % | -2.00 points (" in text
    assert "## Configuration differences" in text


def test_names_of_others_are_text_in_markdown(compare: Compare, tmp_path: Path) -> None:
    name = "<img src=x>|y.safetensors"
    store_run(tmp_path / "mlruns")
    store_run(tmp_path / "mlruns", seed=1, weights=Weights("file", name, "ab" * 32, Path("x")))
    text = compare("vgg16-s0", "vgg16-s1", "--format", "md").stdout
    assert "&lt;img src=x>\\|y.safetensors" in text


# As it is run


def test_runs_that_were_really_made_can_be_compared(tiny_study: StudyRun) -> None:
    done = run_bench(
        tiny_study.folder, "compare", "test_resnet-s0", "test_efficientnet-s0", "-c", "tiny.yaml"
    )
    assert done.code == 0, done.err
    assert "Paired on" in done.out
    again = run_bench(
        tiny_study.folder, "compare", "tiny.yaml", "tiny.yaml", "--fail-if", "accuracy drops 0"
    )
    assert again.code == 0, again.err
    assert "test_resnet" in again.out
    assert "same" in again.out
