"""Accuracy by the number of training images: sizes, laws, back-tests, refusals and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from benchmark.curve.sizes import nested_subsets
from benchmark.report.learning_curves import RowCurve, Size, epochs_sentence, judge, winner_sentence
from benchmark.report.power_law import CurveData, extrapolate, fit_power_law, resampled_errors
from benchmark.report.statistics import Resampling
from benchmark.runs.curve_results import CurveFile
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import TINY, Finished, run_bench
from tests.benchmark.examples import make_record, make_spec

ROOMY = TINY.replace("images_per_class: 10", "images_per_class: 60")
IMAGES = np.array([500.0, 1000, 2000, 4000, 8000])
TEST = 2000


def planted(errors: list[float], seed: int, noise: float = 0.003) -> CurveData:
    """A curve with these expected errors; trainings differ by `noise`, on the same test images."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random(TEST)
    hits = []
    for place, error in enumerate(errors):
        draws = 1 if place == len(errors) - 1 else 3
        own = error + noise * generator.standard_normal(draws)
        wobble = 0.02 * generator.standard_normal((TEST, draws))
        hits.append(difficulty[:, None] + wobble > own)
    return CurveData(IMAGES, hits)


def judged(data: CurveData, name: str = "a") -> RowCurve:
    sizes = tuple(
        Size(round(images), float(hits.mean()), tuple(hits.mean(axis=0)))
        for images, hits in zip(data.images, data.hits, strict=True)
    )
    return judge(name, make_record(make_spec(), 0.8), data, sizes, Resampling(np.arange(TEST), 500))


def law(images: np.ndarray, a: float = 0.3, b: float = 0.5, c: float = 0.08) -> list[float]:
    return list(a * (images / IMAGES[0]) ** -b + c)


# Sizes


def test_subsets_are_nested_and_stratified() -> None:
    labels = np.repeat([0, 1, 2], [700, 250, 50])
    subsets = nested_subsets(labels, np.arange(1000), 0)
    assert [len(subset) for subset in subsets] == [62, 125, 250, 500]
    for small, large in pairwise(subsets):
        assert set(small) < set(large)
    for subset in subsets:
        counts = np.bincount(labels[subset], minlength=3) / len(subset)
        assert np.abs(counts - [0.7, 0.25, 0.05]).max() < 0.02


def test_subsets_keep_groups_together_and_every_class() -> None:
    generator = np.random.default_rng(1)
    groups = np.sort(generator.integers(0, 150, 1000))
    labels = groups % 5
    for subset in nested_subsets(labels, groups, 3):
        inside, outside = set(groups[subset]), set(np.delete(groups, subset))
        assert not inside & outside
        assert set(labels[subset]) == set(range(5))


def test_draws_differ_and_repeat() -> None:
    labels, groups = np.zeros(400, dtype=np.int64), np.arange(400)
    first, again, other = (nested_subsets(labels, groups, [0, draw]) for draw in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


# Laws


@pytest.mark.parametrize("seed", range(5))
def test_fit_is_at_least_as_good_as_scipy_in_the_same_bounds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    errors = np.array(law(IMAGES, b=generator.uniform(0.2, 0.9))) + generator.normal(0, 0.004, 5)
    weights = np.array([3.0, 3, 3, 3, 1])
    x = IMAGES / IMAGES[-1]
    solved = least_squares(
        lambda p: np.sqrt(weights) * (p[0] * x ** -p[1] + p[2] - errors),
        x0=[0.2, 0.5, 0.05], bounds=([0, 0.05, 0], [1, 2, 1]),
    )  # fmt: skip
    laws = fit_power_law(IMAGES, errors[None], weights)
    own = laws.a * x**-laws.b + laws.c
    assert (weights * (own - errors) ** 2).sum() < 2 * solved.cost + 3e-6


def test_law_is_found_again_and_extrapolated() -> None:
    data = planted(law(IMAGES), 0, noise=0.0)
    fit = extrapolate(data, resampled_errors(data, Resampling(np.arange(TEST), 200)))
    # The planted law holds for the population; these test images have an own offset.
    (expected,) = law(np.array([16000.0]))
    assert fit.error(16000) == pytest.approx(expected, abs=0.02)


def test_offset_and_scale_are_not_negative() -> None:
    rising = fit_power_law(IMAGES, np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]), np.ones(5))
    steep = fit_power_law(IMAGES, np.array([[0.8, 0.2, 0.05, 0.01, 0.001]]), np.ones(5))
    assert rising.a == 0
    assert steep.c == 0
    assert steep.a > 0


def test_band_of_the_back_test_holds_as_often_as_it_says() -> None:
    """On planted laws of several shapes; with a band of 90 %."""
    held = []
    for seed in range(100):
        generator = np.random.default_rng(1000 + seed)
        errors = law(IMAGES, generator.uniform(0.1, 0.3), generator.uniform(0.3, 0.8))
        curve = judged(planted(errors, seed))
        test = curve.back_test
        held.append(test.low <= curve.sizes[-1].accuracy <= test.high)
    assert 80 <= sum(held) <= 97, sum(held)


# Refusals


@pytest.mark.parametrize("seed", range(20))
def test_curve_that_falls_is_refused(seed: int) -> None:
    """By 2.5 points or more, at any of the sizes."""
    generator = np.random.default_rng(seed)
    errors = law(IMAGES, 0.25, generator.uniform(0.3, 0.8), 0.08)
    place = 1 + seed % 4
    errors[place] = errors[place - 1] + generator.uniform(0.025, 0.06)
    curve = judged(planted(errors, seed))
    assert "beyond noise" in curve.refusal or "back-test" in curve.refusal
    assert "No forecast: " in curve.sentence


def test_curve_that_follows_a_law_is_rarely_refused() -> None:
    refused = [judged(planted(law(IMAGES), seed)).refusal for seed in range(50)]
    assert sum(bool(text) for text in refused) <= 2, refused


def test_jump_at_the_end_fails_the_back_test() -> None:
    errors = law(IMAGES, 0.1, 0.3, 0.2)
    errors[-1] -= 0.08
    curve = judged(planted(errors, 0))
    assert "points off" in curve.refusal


def test_flat_and_perfect_curves_are_judged() -> None:
    for error in (0.0, 0.3):
        curve = judged(planted([error] * 5, 0, noise=0.0))
        assert not curve.refusal
        assert curve.gain[0] == pytest.approx(0, abs=0.01)


# Sentences


def test_winner_changes_where_another_law_is_steeper() -> None:
    shallow = judged(planted(law(IMAGES, 0.02, 0.5, 0.17), 1), "shallow")
    steep = judged(planted(law(IMAGES, 0.5, 0.35, 0.0), 1), "steep")
    assert shallow.sizes[-1].accuracy > steep.sizes[-1].accuracy
    assert "steep would overtake shallow" in winner_sentence([shallow, steep])
    clear = judged(planted(law(IMAGES, 0.3, 0.5, 0.0), 1), "clear")
    assert "clear stays ahead of shallow" in winner_sentence([shallow, clear])
    assert winner_sentence([shallow]) == ""


def trained(losses: list[float]) -> RunRecord:
    record = make_record(make_spec(), 0.8)
    (first, *_) = record.training.epochs
    epochs = tuple(
        replace(first, epoch=place, valid_loss=loss, valid_accuracy=0.8)
        for place, loss in enumerate(losses, 1)
    )
    best = 1 + min(range(len(losses)), key=lambda place: losses[place])
    training = replace(record.training, epochs=epochs, best_epoch=best, stopped_early=False)
    return record.model_copy(update={"training": training})


def test_more_epochs_may_help_while_the_loss_still_falls() -> None:
    falling = trained([1.0, 0.9, 0.8, 0.7, 0.65, 0.6])
    assert "may help" in epochs_sentence("a", falling)
    settled = trained([1.0, 0.7, 0.6, 0.5, 0.499, 0.51])
    assert "is not supported" in epochs_sentence("a", settled)


# The command


@pytest.fixture(scope="module")
def curved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A study with 418 training images and its curves."""
    folder = tmp_path_factory.mktemp("curve") / "study"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(ROOMY)
    assert run_bench(folder, "run", "--all", "-c", "tiny.yaml").code == 0
    return folder, run_bench(folder, "curve", "-c", "tiny.yaml", "--format", "json")


@pytest.fixture
def study(curved: tuple[Path, Finished], tmp_path: Path) -> Callable[..., Finished]:
    """`bench` in a copy that a test may change."""
    shutil.copytree(curved[0], tmp_path / "study")
    return lambda *arguments: run_bench(tmp_path / "study", *arguments, "-c", "tiny.yaml")


def files_of(folder: Path) -> list[CurveFile]:
    result = [(item, item.record()) for item in study_folders(folder / "mlruns", "tiny")]
    return [CurveFile(item.path, record.run_id) for item, record in result if record is not None]


def test_every_architecture_has_thirteen_points(curved: tuple[Path, Finished]) -> None:
    folder, done = curved
    assert done.code == 0, done.err
    for file in files_of(folder):
        curve = file.read()
        assert curve is not None
        assert not curve.missing()
        assert len(curve.points) == 13
    curves = json.loads(done.out)["curves"]
    assert [point["images"] for point in curves[0]["points"]] == [26, 52, 104, 209, 418]
    assert {curve["name"] for curve in curves} == {"test_resnet", "test_efficientnet"}


def test_whole_size_is_the_run_itself(curved: tuple[Path, Finished]) -> None:
    folder, done = curved
    for item in study_folders(folder / "mlruns", "tiny"):
        record = item.record()
        assert record is not None
        (own,) = (
            curve for curve in json.loads(done.out)["curves"] if curve["run_id"] == record.run_id
        )
        assert own["points"][-1]["accuracy"] == pytest.approx(record.test.accuracy)
        assert item.verified_record() == record


def test_killed_curve_resumes_with_the_same_points(
    study: Callable[..., Finished], tmp_path: Path
) -> None:
    """All but five points are lost; the kept ones are not trained again, the others are equal."""
    file = files_of(tmp_path / "study")[0]
    whole = file.read()
    assert whole is not None
    saved = tuple(point.model_copy(update={"seconds": 12345.0}) for point in whole.points[:5])
    file.write(whole.model_copy(update={"points": saved}))
    assert "unfinished" in study("report").out
    assert study("curve").code == 0
    resumed = file.read()
    assert resumed is not None
    assert [point.correct for point in resumed.points] == [point.correct for point in whole.points]
    assert [point.seconds == 12345.0 for point in resumed.points] == [True] * 5 + [False] * 8


def test_damaged_curve_is_refused_and_measured_again(
    study: Callable[..., Finished], tmp_path: Path
) -> None:
    file = files_of(tmp_path / "study")[0]
    text = file.path.read_text()
    file.path.write_text(text.replace('"images": 104', '"images": 105'))
    assert "is damaged; `bench curve` measures it again" in study("report").out
    done = study("curve")
    assert done.code == 0
    assert "is damaged; training its points again" in done.err
    assert file.read() is not None


def test_lost_features_are_computed_again(study: Callable[..., Finished], tmp_path: Path) -> None:
    file = files_of(tmp_path / "study")[0]
    before = file.read()
    file.path.unlink()
    shutil.rmtree(tmp_path / "study" / "mlruns" / "cache" / "features")
    assert study("curve").code == 0
    after = file.read()
    assert before is not None
    assert after is not None
    assert [point.correct for point in after.points] == [point.correct for point in before.points]


def test_curves_are_written_to_a_file(study: Callable[..., Finished], tmp_path: Path) -> None:
    assert study("curve", "-o", "curves.csv").code == 0
    lines = (tmp_path / "study" / "curves.csv").read_text().splitlines()
    assert lines[0] == "architecture,training_images,draw,test_accuracy"
    assert len(lines) > 13


@pytest.mark.parametrize("form", ["md", "html", "csv", "json", "latex"])
def test_every_report_format_has_the_curve(study: Callable[..., Finished], form: str) -> None:
    out = study("report", "--format", form).out
    expected = {"csv": "curve_predicted_from_half", "json": '"training_images"'}
    assert expected.get(form, "Accuracy by the number of training images") in out


def test_metrics_are_logged_by_number_of_images(
    study: Callable[..., Finished], tmp_path: Path
) -> None:
    assert study("curve", "test_resnet", "--log").code == 0
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/study/mlruns/mlflow.db")
    runs = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
        if "curve/test_accuracy" in run.data.metrics
    ]
    (run,) = runs
    history = client.get_metric_history(run.info.run_id, "curve/test_accuracy")
    assert sorted(item.step for item in history) == [26, 52, 104, 209, 418]
    assert "curve/predicted_from_half" in run.data.metrics


# Bad input


def assert_refused(done: Finished, *words: str) -> None:
    assert done.code == 2, done.out
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench: ")]
    assert all(word in line for word in words), line


def test_study_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(ROOMY)
    assert_refused(run_bench(tmp_path, "curve", "-c", "tiny.yaml"), "has no runs")


def test_unknown_architecture_is_refused(study: Callable[..., Finished]) -> None:
    assert_refused(study("curve", "test_resnett"), "test_resnett", "test_resnet")


def test_too_few_images_are_refused(tiny_study: object, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    shutil.copytree(tiny_study.folder, folder)  # type: ignore[attr-defined]
    done = run_bench(folder, "curve", "test_resnet", "-c", "tiny.yaml")
    assert_refused(done, "too few for five sizes", "in all")


def test_run_that_trains_its_backbone_waits_for_finetuned(tmp_path: Path) -> None:
    config = ROOMY.replace("mode: frozen, standardize_features: true", "mode: finetune")
    config = config.replace("[test_resnet, test_efficientnet]", "[test_resnet]")
    (tmp_path / "tiny.yaml").write_text(config.replace("epochs: 2", "epochs: 1"))
    assert run_bench(tmp_path, "run", "--all", "-c", "tiny.yaml").code == 0
    done = run_bench(tmp_path, "curve", "-c", "tiny.yaml")
    assert_refused(done, "2.8 times its training", "--finetuned")
    done = run_bench(tmp_path, "curve", "--finetuned", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    (file,) = files_of(tmp_path)
    assert not (file.read() or pytest.fail("no curve")).missing()


def test_run_without_its_weights_is_refused(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "weights"
    weights.mkdir()
    save_file(timm.create_model("test_resnet").state_dict(), weights / "test_resnet.safetensors")
    config = ROOMY.replace("weights: none", "weights: weights")
    config = config.replace("[test_resnet, test_efficientnet]", "[test_resnet]")
    (tmp_path / "tiny.yaml").write_text(config)
    done = run_bench(tmp_path, "run", "--all", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    shutil.rmtree(weights)
    assert_refused(run_bench(tmp_path, "curve", "-c", "tiny.yaml"), "weights", "missing")


def test_groups_of_the_data_stay_together(tmp_path: Path) -> None:
    """Products with several images: none is both in a subset and outside of it."""
    manifest = pd.DataFrame({"group": np.repeat(np.arange(200), 4)})
    labels = np.repeat(np.arange(4), 200)
    for subset in nested_subsets(labels, manifest["group"].to_numpy(), 0):
        assert manifest.loc[subset, "group"].value_counts().eq(4).all()
