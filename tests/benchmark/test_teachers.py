"""`train.teacher`: a study whose runs learn a finished run's answers, and what cannot teach."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.benchmark.conftest import TINY, Finished, run_bench

FINETUNE = ("--set", "model.mode=finetune", "--set", "model.standardize_features=false")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny study fine-tuned, and a study of one network that learns of a run."""
    folder = tmp_path_factory.mktemp("taught")
    (folder / "tiny.yaml").write_text(TINY)
    first = run_bench(folder, "run", "--all", "-c", "tiny.yaml", *FINETUNE)
    assert first.code == 0, first.err
    second = student(folder, teacher_of(folder))
    assert second.code == 0, second.err
    return folder


def teacher_of(folder: Path) -> Path:
    (result,) = (folder / "mlruns" / "runs" / "tiny").glob("test_efficientnet-*")
    return result


def student(folder: Path, teacher: Path | str, *more: str, command: str = "run") -> Finished:
    return run_bench(
        folder,
        *(command, "test_resnet", "-c", "tiny.yaml", *FINETUNE, "--set", "study=pupil"),
        *("--set", f"train.teacher.runs=[{teacher}]", *more),
    )


def test_a_run_learns_of_another_and_says_so(taught: Path) -> None:
    """Its training loss is of other targets, and its record, id and report name the teacher."""
    runs = taught / "mlruns" / "runs"
    (own,) = (runs / "pupil").glob("test_resnet-*")
    (alone,) = (runs / "tiny").glob("test_resnet-*")
    record, other = (json.loads((run / "record.json").read_text()) for run in (own, alone))
    teacher = json.loads((teacher_of(taught) / "record.json").read_text())["run_id"]
    assert record["spec"]["train"]["teacher"] == {"runs": [teacher], "share": 0.7}
    assert record["run_id"] != other["run_id"]
    losses = [item["training"]["epochs"][0]["train_loss"] for item in (record, other)]
    assert abs(losses[0] - losses[1]) > 1e-3
    report = run_bench(
        *(taught, "report", "-c", "tiny.yaml", *FINETUNE, "--set", "study=pupil"),
        *("--set", f"train.teacher.runs=[{teacher_of(taught)}]", "-o", "report.md"),
    )
    assert report.code == 0, report.err
    assert f"distillation from run {teacher} (weight 70%)" in (taught / "report.md").read_text()


def test_a_teacher_may_be_named_in_any_way(taught: Path) -> None:
    """By another path to the same folder it is the same teacher, and the run is not done again."""
    relative = teacher_of(taught).relative_to(taught)
    again = student(taught, relative)
    assert again.code == 0, again.err
    assert "nothing to train" in again.err


@pytest.mark.parametrize(
    ("teacher", "more", "told"),
    [
        ("nobody", (), "train.teacher.runs: study 'pupil' has no run 'nobody'"),
        (None, ("--set", "data.split.seed=5"), "of this study's validation or test split"),
        (None, ("--set", "data.max_classes=2"), "has different classes than the study"),
        (None, ("--set", "model.mode=frozen"), "set model.mode to finetune or scratch"),
    ],
)
def test_what_cannot_teach_is_reported_before_anything_is_trained(
    taught: Path, teacher: str | None, more: tuple[str, ...], told: str
) -> None:
    done = student(taught, teacher or teacher_of(taught), *more)
    assert done.code == 2, done.err
    assert told in done.err
    assert "Traceback" not in done.err


def test_a_teacher_whose_model_is_damaged_is_refused(taught: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(teacher_of(taught), tmp_path / "damaged")
    with (damaged / "model.safetensors").open("ab") as file:
        file.write(b"more")
    done = student(taught, damaged)
    assert done.code == 2, done.err
    assert "model.safetensors: is missing or has changed" in done.err


def test_a_selection_has_no_teacher(taught: Path) -> None:
    done = student(taught, teacher_of(taught), "--budget", "10m", command="select")
    assert done.code == 2
    assert "a selection does not support distillation" in done.err


def test_a_teacher_that_is_missing_fails_the_run_in_words(taught: Path, tmp_path: Path) -> None:
    """Planned with its teacher, and begun when that is not there any more."""
    import torch

    from benchmark.errors import UserError
    from benchmark.inference.load_teacher import open_teacher
    from benchmark.runs.inputs import build_from
    from benchmark.runs.spec import RunSpec

    (own,) = (taught / "mlruns" / "runs" / "pupil").glob("test_resnet-*")
    spec = RunSpec.model_validate_json((own / "spec.json").read_text())
    missing = spec.teachers[0].model_copy(update={"folder": tmp_path / "gone"})
    with pytest.raises(UserError, match=r"is no longer in .*gone"):
        open_teacher(
            spec.model_copy(update={"teachers": (missing,)}), build_from(spec), torch.device("cpu")
        )
