"""Faults of the machine: too little memory, a crash, a stop signal."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.benchmark.conftest import run_bench
from tests.faults import study
from tests.faults.conftest import Undisturbed


def wait_for(folder: Path, words: str, seconds: float = 120) -> None:
    """Wait until the study has printed a text."""
    end = time.monotonic() + seconds
    while words not in study.output(folder):
        assert time.monotonic() < end, study.output(folder)
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_once_it_stops_within_seconds_and_resumes_later(
    number: signal.Signals, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Its current step is done and saved, and its MLflow run is closed."""
    process = study.start(tmp_path, "run", "--all")
    wait_for(tmp_path, "epoch 2/")
    asked = time.monotonic()
    process.send_signal(number)
    assert process.wait(30) == 130
    assert time.monotonic() - asked < 10
    assert "Interrupted. Progress is saved" in study.output(tmp_path)
    assert "Traceback" not in study.output(tmp_path)
    study.assert_no_process(tmp_path)
    study.finish(tmp_path)
    assert "resumed after" in study.output(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)


@pytest.mark.slow
def test_asked_twice_it_stops_at_once_and_loses_nothing(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    process = study.start(tmp_path, "run", "--all")
    wait_for(tmp_path, "epoch 1/")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    assert process.wait(30) == 130
    assert time.monotonic() - asked < 5
    study.assert_no_process(tmp_path)
    study.finish(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)


@pytest.mark.slow
def test_a_run_that_crashes_is_a_failure_and_the_others_go_on(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """A segmentation fault in the first run's process; on request, the run is retried."""
    process = study.start(tmp_path, "run", "--all")
    wait_for(tmp_path, "epoch 1/")
    worker = subprocess.run(
        ["pgrep", "-f", f"benchmark.engine.worker {tmp_path}"], capture_output=True, text=True
    ).stdout.split()[0]
    os.kill(int(worker), signal.SIGSEGV)
    assert process.wait(120) == 1
    assert "failed in train: its process was killed by SIGSEGV" in study.output(tmp_path)
    assert sorted(study.records(tmp_path)) == [1]
    again = run_bench(tmp_path, "run", "--all", "-c", "faults.yaml")
    assert again.code == 1
    assert "use --retry-failed to retry" in again.err
    study.finish(tmp_path, "--retry-failed")
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)


@pytest.mark.slow
def test_a_run_that_fits_in_no_way_is_a_failure_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text(
        study.STUDY.replace("test_resnet", "vgg16").replace("seeds: [0, 1]", "seeds: [0]")
    )
    process = study.start(tmp_path, "run", "--all", "--set", "limits.memory_mib=700")
    assert process.wait(300) == 1
    assert "out of memory, even with one image" in study.output(tmp_path)
    assert "Traceback" not in study.output(tmp_path)


def test_a_folder_that_cannot_be_written_is_reported_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    (tmp_path / "file").write_text("")
    done = run_bench(
        tmp_path, "run", "--all", "-c", "faults.yaml", "--set", "tracking.folder=file/x"
    )
    assert done.code == 2
    assert "tracking.folder" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_two_hundred_runs_leave_nothing_behind(tmp_path: Path) -> None:
    """The parent's memory and open files stay constant, and the store has every run once.

    Between runs, less than a hundredth of the time is idle.
    """
    (tmp_path / "faults.yaml").write_text(
        study.STUDY.replace("seeds: [0, 1]", f"seeds: {list(range(200))}").replace(
            f"epochs: {study.EPOCHS}", "epochs: 1"
        )
    )
    process = study.start(tmp_path, "run", "--all")
    seen: dict[int, tuple[int, int]] = {}
    looks = idle = 0
    while process.poll() is None:
        done = study.output(tmp_path).count("s total")
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
            servers = psutil.Process(process.pid).children()
            at_work = any(server.children() for server in servers)
        except (OSError, psutil.NoSuchProcess):
            break
        resident = int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0
        seen[done] = (resident, files)
        if 20 <= done < 199:
            looks += 1
            idle += not at_work
        time.sleep(0.05)
    assert process.wait() == 0, study.output(tmp_path)[-2000:]
    assert len(study.records(tmp_path)) == 200
    study.assert_whole_in_mlflow(tmp_path)
    study.assert_no_process(tmp_path)
    early, late = seen[20], seen[max(n for n in seen if n < 200)]
    print(f"resident KiB and open files after 20 runs {early}, at the end {late}")
    print(f"no run at work: {idle} of {looks} looks")
    assert idle <= 0.01 * looks
    assert late[0] < 1.05 * early[0]
    assert late[1] <= early[1] + 2
