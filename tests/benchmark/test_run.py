"""`bench run` and `bench report` for real, on a study of two tiny architectures."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.config.study import load_study
from benchmark.runs import run_folder as files
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import RunFolder, study_folders
from benchmark.tracking.relocate import local_path
from clothclf.cost.counters.registry import COUNTERS
from tests.benchmark.conftest import Bench, StudyRun, environment, run_bench
from tests.benchmark.test_tracking import runs_of


def records(folder: Path) -> dict[str, RunRecord]:
    result = (item.record() for item in study_folders(folder / "mlruns", "tiny"))
    return {record.spec.architecture: record for record in result if record is not None}


def folder_of(study: StudyRun, architecture: str) -> RunFolder:
    spec = records(study.folder)[architecture].spec
    return RunFolder.of(study.folder / "mlruns", spec)


def test_a_study_ends_with_a_table_of_its_architectures(tiny_study: StudyRun) -> None:
    assert tiny_study.first.code == 0, tiny_study.first.err
    for name in ("test_resnet", "test_efficientnet"):
        (line,) = (text for text in tiny_study.first.out.splitlines() if name in text)
        assert re.search(r"random +\d+\.\d\d % .*finished", line)
    assert "Traceback" not in tiny_study.first.err


def test_every_run_leaves_its_whole_story(tiny_study: StudyRun) -> None:
    """Config, manifest, findings, epochs, cost, predictions, image, weights, log, record."""
    result = records(tiny_study.folder)
    assert set(result) == {"test_resnet", "test_efficientnet"}
    for name, record in result.items():
        folder = folder_of(tiny_study, name)
        present = {item.name for item in folder.path.iterdir()}
        assert present == {
            *("spec.json", "config.yaml", "manifest.parquet", "findings.csv", "epochs.jsonl"),
            *("cost.json", "predictions.parquet", "predictions_valid.parquet"),
            *("confusion.png", "model.safetensors"),
            *("log.txt", "record.json"),
        }
        assert record.files == folder.hashes()
        assert load_study(folder.path / files.CONFIG).study == "tiny"
        epochs = (folder.path / files.EPOCHS).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in epochs] == [1, 2]


def test_reported_accuracy_is_that_of_the_saved_predictions(tiny_study: StudyRun) -> None:
    for name, record in records(tiny_study.folder).items():
        folder = folder_of(tiny_study, name)
        predictions = pd.read_parquet(folder.path / files.PREDICTIONS)
        manifest = pd.read_parquet(folder.path / files.MANIFEST)
        test_ids = set(manifest.loc[manifest["split"] == "test", "id"])
        assert set(predictions["id"]) == test_ids
        right = (predictions["label"] == predictions["answer"]).mean()
        assert math.isclose(right, record.test.accuracy, abs_tol=1e-12)
        probabilities = predictions.filter(like="p/")
        assert probabilities.sum(axis=1).between(0.999, 1.001).all()


def test_costs_stand_in_the_record(tiny_study: StudyRun) -> None:
    for record in records(tiny_study.folder).values():
        assert record.cost is not None, record.cost_error
        assert record.cost.macs
        assert record.cost.flops == 2 * record.cost.macs
        assert all(record.cost.counted_macs(name) for name in COUNTERS)


def test_a_run_measures_its_network_after_evaluation(bench: Bench, tmp_path: Path) -> None:
    done = bench("run", "test_resnet", "-c", "tiny.yaml", "--set", "measure=true")
    assert done.code == 0, done.err
    record = records(tmp_path)["test_resnet"]
    assert record.measured is not None, record.measured_error
    assert record.measured.image_size == 32
    assert record.measured.training_batch_size == record.spec.train.batch_size
    assert list(record.stage_seconds)[-3:] == ["evaluate", "save", "measure"]
    report = bench("report", "-c", "tiny.yaml").out
    assert "### Measured on cpu, " in report
    assert f"{record.measured.latency_ms_median:.1f} ms" in report
    (tracked,) = runs_of(tmp_path)
    # MLflow ranks what it has: a figure that other processes disturbed is not among it.
    expected = None if record.measured.busy else record.measured.latency_ms_median
    assert tracked.data.metrics.get("speed/latency_ms") == expected
    assert (
        tracked.data.metrics["memory/training_mib"]
        > tracked.data.metrics["memory/inference_mib"]
        > 0
    )


def test_a_dry_run_probes_nothing_and_says_what_is_decided_later(
    bench: Bench, tmp_path: Path
) -> None:
    asked = ("run", "test_resnet", "-c", "tiny.yaml", "--set", "model.precision=auto")
    done = bench(*asked, "--dry-run")
    assert done.code == 0, done.err
    assert not (tmp_path / "mlruns/cache/probes").exists()
    assert "`bench run` first probes 1 of the runs" in done.err
    assert re.search(r"- +test_resnet-s0 +random +to run", done.out)


@pytest.mark.slow
def test_precision_is_chosen_once_by_a_probe_and_said(bench: Bench, tmp_path: Path) -> None:
    asked = ("run", "test_resnet", "-c", "tiny.yaml", "--set", "model.precision=auto")
    done = bench(*asked)
    assert done.code == 0, done.err
    (probe,) = (tmp_path / "mlruns/cache/probes").glob("*.json")
    assert set(json.loads(probe.read_text())["times"]) == {"float32", "bfloat16"}
    record = records(tmp_path)["test_resnet"]
    report = bench("report", "-c", "tiny.yaml", "--set", "model.precision=auto").out
    assert f"Backbone precision {record.spec.precision}: test_resnet" in report
    assert "skipped" in bench(*asked).err


def test_asking_again_trains_nothing_and_says_so(tiny_study: StudyRun) -> None:
    before = {name: record.finished_at for name, record in records(tiny_study.folder).items()}
    again = run_bench(tiny_study.folder, "run", "--all", "-c", "tiny.yaml")
    assert again.code == 0
    assert "nothing to train: all runs are already finished" in again.err
    assert {n: r.finished_at for n, r in records(tiny_study.folder).items()} == before


def test_asking_again_needs_none_of_the_slow_imports(tiny_study: StudyRun) -> None:
    """All it has to know is in files of its own: MLflow's database has not changed since."""
    program = (
        "import sys\nfrom benchmark.cli import main\ntry:\n    main()\nfinally:\n"
        "    print('imported', *sorted({'torch', 'timm', 'mlflow'} & sys.modules.keys()))"
    )
    question = [sys.executable, "-c", program, "run", "--all", "-c", "tiny.yaml"]
    options: dict[str, Any] = {"cwd": tiny_study.folder, "env": environment(), "text": True}
    # The first time, MLflow is opened: SQLite closed its database after the run's last look at it.
    subprocess.run(question, check=True, capture_output=True, timeout=300, **options)
    again = subprocess.run(question, check=True, capture_output=True, timeout=300, **options)
    assert again.stdout.splitlines()[-1].rstrip() == "imported"
    database = tiny_study.folder / "mlruns/mlflow.db"
    with contextlib.closing(sqlite3.connect(database)) as other:  # leaves it in SQLite's log
        other.execute("UPDATE experiments SET last_update_time = last_update_time + 1")
        other.commit()
        changed = subprocess.run(question, check=True, capture_output=True, timeout=300, **options)
    assert changed.stdout.splitlines()[-1] == "imported mlflow"


def test_the_report_is_logged_unless_the_config_says_otherwise(
    bench: Bench, tmp_path: Path
) -> None:
    assert bench("run", "test_resnet", "-c", "tiny.yaml").code == 0
    assert runs_of(tmp_path, kind="report") == []
    again = bench("run", "test_resnet", "-c", "tiny.yaml", "--set", "tracking.report=true")
    assert "skipped" in again.err
    (report,) = runs_of(tmp_path, kind="report")
    artifacts = local_path(report.info.artifact_uri)
    assert artifacts is not None
    logged = {item.name for item in artifacts.rglob("*")}
    assert {"report.html", "report.md", "report.csv", "report.json", "seed-spread.png"} <= logged
    assert "report.tex" not in logged


def test_a_dry_run_says_what_is_done_and_what_is_not(tiny_study: StudyRun) -> None:
    plan = run_bench(
        tiny_study.folder, "run", "test_res*", "-c", "tiny.yaml", "--seed", "0", "--seed", "1",
        "--dry-run",
    )  # fmt: skip
    assert plan.code == 0
    states = re.findall(r"test_resnet-s(\d) +random +(finished|to run)", plan.out)
    assert states == [("0", "finished"), ("1", "to run")]


def test_the_report_is_written_in_every_format(tiny_study: StudyRun) -> None:
    for form in ("md", "csv", "json"):
        output = tiny_study.folder / f"report.{form}"
        done = run_bench(
            tiny_study.folder, "report", "-c", "tiny.yaml", "--format", form, "-o", str(output)
        )
        assert done.code == 0, done.err
        assert "test_efficientnet" in output.read_text()
    assert "**Pick " in (tiny_study.folder / "report.md").read_text()


def test_one_changed_key_trains_what_changed_with_the_same_numbers_for_the_rest(
    bench: Bench, tmp_path: Path, tiny_study: StudyRun
) -> None:
    """The same settings give bit-identical metrics in another folder; a changed key, a new run."""
    first = bench("run", "test_resnet", "-c", "tiny.yaml")
    assert first.code == 0, first.err
    ours, theirs = records(tmp_path)["test_resnet"], records(tiny_study.folder)["test_resnet"]
    assert ours.test == theirs.test
    assert ours.run_id == theirs.run_id
    assert [e.train_loss for e in ours.training.epochs] == [
        e.train_loss for e in theirs.training.epochs
    ]
    changed = bench("run", "test_resnet", "-c", "tiny.yaml", "--epochs", "1")
    assert changed.code == 0
    assert "skipped" not in changed.err
    assert len(list(study_folders(tmp_path / "mlruns", "tiny"))) == 2


def test_a_failed_run_is_reported_and_does_not_stop_the_rest(bench: Bench, tmp_path: Path) -> None:
    """A learning rate without measure ends in a loss that is not finite, twice."""
    done = bench("run", "--all", "-c", "tiny.yaml", "--set", "train.learning_rate=1e38")
    assert done.code == 1
    assert done.err.count("failed in train: the training loss is not finite") == 2
    assert "Traceback" not in done.err
    report = bench("report", "-c", "tiny.yaml", "--set", "train.learning_rate=1e38")
    assert report.code == 0
    assert report.out.count("failed in train") == 2
