"""A study of two short runs, its expected result, and checks of what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import COMMAND, environment, heed_signals, run_bench

EPOCHS = 6
STUDY = f"""\
study: faults
data: {{source: demo, image_size: 32, demo: {{images_per_class: 10}}}}
architectures: [test_resnet]
model: {{weights: none, mode: finetune, head: {{dropout: 0.2}}}}
train: {{epochs: {EPOCHS}, learning_rate: 0.01, schedule: cosine}}
seeds: [0, 1]
device: cpu
measure: false
"""


def write_study(folder: Path) -> None:
    """Write the study's config, unless a test has written one of its own."""
    if not (folder / "faults.yaml").exists():
        (folder / "faults.yaml").write_text(STUDY)


def start(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `bench` in a folder, in its own process group; output goes to a file.

    `variables` are its complete environment.
    """
    write_study(folder)
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            [*COMMAND, *arguments, "-c", "faults.yaml"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
            env=environment() if variables is None else variables,
            preexec_fn=heed_signals,
        )


def output(folder: Path) -> str:
    """Return the output so far."""
    return (folder / "output.txt").read_text()


def finish(folder: Path, *arguments: str) -> None:
    """Run the study to completion."""
    write_study(folder)
    done = run_bench(folder, "run", "--all", *arguments, "-c", "faults.yaml")
    with (folder / "output.txt").open("a") as file:
        file.write(done.out + done.err)
    assert done.code == 0, output(folder)[-3000:]


def records(folder: Path) -> dict[int, RunRecord]:
    """Finished runs by seed; checks that the files of each record are unchanged."""
    result = {}
    for run in study_folders(folder / "mlruns", "faults"):
        record = run.verified_record()
        if record is not None:
            assert record.spec.seed not in result
            result[record.spec.seed] = record
    return result


def figures(folder: Path) -> dict[int, Any]:
    """All measured values of a run except times."""
    return {
        seed: (
            record.test,
            record.training.best_epoch,
            [
                (e.epoch, e.train_loss, e.train_accuracy, e.valid_loss, e.valid_accuracy)
                for e in record.training.epochs
            ],
            record.files["predictions.parquet"],
            record.files["model.safetensors"],
        )
        for seed, record in records(folder).items()
    }


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines of processes that run in a folder or mention it, by process ID."""
    result = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = os.readlink(entry / "cwd")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX" and (place == str(folder) or str(folder) in command):
            result[int(entry.name)] = command
    return result


def assert_no_process(folder: Path, seconds: float = 5.0) -> None:
    """All processes of a study have ended, or end soon."""
    end = time.monotonic() + seconds
    while processes_of(folder):
        assert time.monotonic() < end, processes_of(folder)
        time.sleep(0.05)


def assert_no_lock(folder: Path) -> None:
    """Every lock file can be locked."""
    for path in (folder / "mlruns").rglob("*.lock"):
        with filelock.FileLock(path, timeout=0):
            pass


def assert_whole_in_mlflow(folder: Path, uri: str | None = None) -> None:
    """Each finished run is in the store once, each epoch is logged once, and no run is open."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri or f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("faults")
    assert experiment is not None
    result = list(client.search_runs([experiment.experiment_id]))
    runs = [run for run in result if run.data.tags["bench.kind"] == "run"]
    reports = [run.info.status for run in result if run not in runs]
    assert reports in ([], ["FINISHED"])
    expected = records(folder)
    assert sorted(run.data.params["seed"] for run in runs) == sorted(str(s) for s in expected)
    for run in runs:
        record = expected[int(run.data.params["seed"])]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/accuracy"] == record.test.accuracy
        for metric in ("train/loss", "valid/loss"):
            points = client.get_metric_history(run.info.run_id, metric)
            steps = sorted(point.step for point in points)
            assert steps == list(range(1, len(record.training.epochs) + 1)), (metric, points)
        assert len(client.get_metric_history(run.info.run_id, "test/accuracy")) == 1
