"""The answer of a selection is found by the study it was made for, and by no other."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmark.cli import main
from benchmark.config.study import StudySettings, load_study
from benchmark.errors import ReportError
from benchmark.select.selection_result import find_selected, write_result
from clothclf.settings import TrainSettings
from tests.benchmark.predicted_runs import draw_test_set
from tests.benchmark.test_compare import store_run

FINAL = {"study": "s.select-final", "train": TrainSettings(epochs=3)}


@pytest.fixture
def selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with study.yaml, whose selection was won by vgg16; resnet18 was a finalist."""
    (tmp_path / "study.yaml").write_text("study: s\narchitectures: [vgg16, resnet18]\n")
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "mlruns"
    images = draw_test_set(100)
    won = store_run(root, 0.7, images, **FINAL)
    other = store_run(root, 0.9, images, architecture="resnet18", **FINAL)
    store_run(root, 0.8, images, architecture="resnet34", **FINAL)  # of another selection
    write_result(root, study_of(tmp_path), "s-0a1b2c3d", [won], [won, other])
    return tmp_path


def study_of(folder: Path, *assignments: str) -> StudySettings:
    return load_study(folder / "study.yaml", assignments)


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", "-c", "study.yaml", "--format", "json", *arguments])


def architectures(done: Result) -> set[str]:
    assert done.exit_code == 0, done.stderr
    stored = json.loads(done.stdout)
    return {row["architecture"] for row in stored["comparisons"][0]["rows"]}


def test_a_study_without_finished_runs_reports_the_finalists(selected: Path) -> None:
    """Only those of this selection, which a message names."""
    done = report()
    assert architectures(done) == {"vgg16", "resnet18"}
    assert (
        "reporting the finalists of selection s-0a1b2c3d, whose winner is vgg16-s0" in done.stderr
    )


def test_finished_runs_of_the_study_take_precedence_without_from_select(selected: Path) -> None:
    store_run(selected / "mlruns", 0.6, draw_test_set(100))
    assert architectures(report()) == {"vgg16"}
    assert architectures(report("--from-select")) == {"vgg16", "resnet18"}


def test_limits_weights_and_seeds_may_differ(selected: Path) -> None:
    changed = study_of(selected, "selection.max_gmacs=1", "model.weights=none", "seeds=[3]")
    assert find_selected(changed).winner.record.spec.architecture == "vgg16"


def test_a_result_with_other_settings_is_not_used_and_the_error_names_it(selected: Path) -> None:
    with pytest.raises(ReportError, match=r"with other settings: s-0a1b2c3d"):
        find_selected(study_of(selected, "train.epochs=7"))


def test_the_newest_of_several_selections_is_used(selected: Path) -> None:
    root = selected / "mlruns"
    won = store_run(root, architecture="resnet50", **FINAL)
    write_result(root, study_of(selected), "s-00000000", [won], [won])
    assert find_selected(study_of(selected)).winner.record.run_id == won.run_id


def test_a_moved_study_keeps_its_result(selected: Path) -> None:
    shutil.move(selected / "mlruns", selected / "moved")
    moved = study_of(selected, "tracking.folder=moved")
    assert find_selected(moved).winner.folder.path.parts[-4] == "moved"


def test_a_missing_winner_is_an_error(selected: Path) -> None:
    shutil.rmtree(find_selected(study_of(selected)).winner.folder.path)
    done = report("--from-select")
    assert done.exit_code == 2
    assert "the winner of selection s-0a1b2c3d no longer exists" in done.stderr


def test_run_and_from_select_are_mutually_exclusive(selected: Path) -> None:
    arguments = ["export", "-c", "study.yaml", "--run", "vgg16-s0", "--from-select"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "--run or --from-select" in done.stderr


def test_a_result_under_its_former_name_is_found(selected: Path) -> None:
    (path,) = (selected / "mlruns/selections").glob("*.result.json")
    path.rename(path.with_name(path.name.replace(".result.", ".answer.")))
    assert architectures(report("--from-select")) == {"vgg16", "resnet18"}


def test_a_result_without_a_checksum_is_read(selected: Path) -> None:
    (path,) = (selected / "mlruns/selections").glob("*.result.json")
    text = re.sub(r' "check": "\w+",\n', "", path.read_text())
    assert '"check"' not in text
    path.write_text(text)
    assert architectures(report("--from-select")) == {"vgg16", "resnet18"}


def test_a_changed_result_is_rejected(selected: Path) -> None:
    """The change would select another winner."""
    (path,) = (selected / "mlruns/selections").glob("*.result.json")
    stored = json.loads(path.read_text())
    winner, other = stored["finalists"]
    path.write_text(path.read_text().replace(f'"winner": "{winner}"', f'"winner": "{other}"'))
    done = report("--from-select")
    assert done.exit_code == 2
    assert "has no completed selection" in done.stderr
