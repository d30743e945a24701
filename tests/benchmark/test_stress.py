"""`bench stress`: predictions on corrupted test images, stored, reported and logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmark.errors import ReportError
from benchmark.runs.find import FinishedRun, open_run
from benchmark.runs.run_folder import study_folders
from benchmark.runs.stress_results import StressResults
from tests.benchmark.conftest import Finished, StudyRun, run_bench

TWO = ("--corruption", "contrast", "--corruption", "fog", "--severity", "5", "--severity", "1")


def bench(folder: Path, *arguments: str) -> Finished:
    return run_bench(folder, *arguments, "-c", "tiny.yaml")


def runs(folder: Path) -> list[FinishedRun]:
    return [open_run(item.path) for item in study_folders(folder / "mlruns", "tiny")]


def stored(run: FinishedRun) -> StressResults:
    images = run.record.spec.data_summary.images["test"]
    return StressResults(run.folder.path, run.record.run_id, images)


@pytest.fixture(scope="module")
def stressed(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stressed") / "study"
    shutil.copytree(tiny_study.folder, folder)
    done = bench(folder, "stress", *TWO, "--log")
    assert done.code == 0, done.err
    assert "Robustness to corruptions" in done.out
    assert "The pick" in done.out
    return folder


@pytest.fixture
def study(stressed: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(stressed, tmp_path / "study")
    return tmp_path / "study"


def test_every_report_format_shows_the_same_accuracies(study: Path) -> None:
    result = json.loads(bench(study, "report", "--format", "json").out)["comparisons"][0]
    for row in result["rows"]:
        values = result["stress"][row["architecture"]]
        assert sorted(values) == ["contrast-1", "contrast-5", "fog-1", "fog-5"]
        mean = sum(values.values()) / 4
        assert row["corrupted_accuracy"] == pytest.approx(mean)
        assert row["relative_robustness"] == pytest.approx(mean / row["test_accuracy"])
    text = bench(study, "report", "--format", "md").out
    first = result["rows"][0]
    assert f"{100 * first['corrupted_accuracy']:.2f} %" in text
    assert "### Robustness to corruptions" in text
    page = bench(study, "report", "-o", "report.html")
    assert page.code == 0, page.err
    html = (study / "report.html").read_text()
    assert f"{100 * first['corrupted_accuracy']:.2f}" in html
    assert 'data-chart="stress"' in html


def test_conditions_are_not_repeated_and_an_outdated_or_damaged_one_is(study: Path) -> None:
    again = bench(study, "stress", *TWO)
    assert again.err.count("all 4 conditions are stored already") == len(runs(study))
    run = runs(study)[0]
    before = stored(run).all()
    path = run.folder.path / "stress" / "fog-1.json"
    whole = path.read_text()
    path.write_text(whole.replace('"predictions": [', '"predictions": [1,', 1))
    with pytest.raises(ReportError, match=r"fog-1\.json: is damaged; `bench stress` repeats it"):
        stored(run).all()
    assert "fog-1.json: is damaged" in bench(study, "report").out
    done = bench(study, "stress", *TWO)
    assert f"{run.record.spec.name}: 1/1 fog 1" in done.err
    assert stored(run).all() == before
    assert path.read_text() == whole


def test_accuracies_are_logged_as_metrics(study: Path) -> None:
    from benchmark.tracking.mlflow_store import MlflowStore

    root = study / "mlruns"
    store = MlflowStore(f"sqlite:///{root / 'mlflow.db'}", "tiny", root)
    _, logged = store.logged(runs(study)[0].record.run_id)
    metrics = logged.data.metrics
    names = ["stress/contrast-1", "stress/contrast-5", "stress/fog-1", "stress/fog-5"]
    mean = sum(metrics[name] for name in names) / 4
    assert metrics["stress/mean_accuracy"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing_like_it"], "architecture 'nothing_like_it': has no finished run"),
        (["--corruption", "snow"], "snow"),
        (["--severity", "6"], "6"),
    ],
)
def test_bad_input_is_one_sentence(study: Path, arguments: list[str], message: str) -> None:
    done = bench(study, "stress", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_run_without_its_model_is_reported_and_the_others_go_on(study: Path) -> None:
    broken, *others = runs(study)
    shutil.rmtree(broken.folder.path / "stress")
    (broken.folder.path / "model.safetensors").write_bytes(b"")
    done = bench(study, "stress", *TWO)
    assert done.code == (1 if others else 2)
    assert "is missing or has changed" in done.err
    assert "Traceback" not in done.err
