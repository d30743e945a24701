"""An unreachable tracking server does not stop the study; the store is filled later."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmark.conftest import free_port, run_bench
from tests.faults import study
from tests.faults.conftest import Undisturbed, fill, forbid_writing


class Server:
    """Real MLflow server on the loopback interface, with its own store."""

    def __init__(self, folder: Path) -> None:
        """Choose a free port."""
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it responds."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                assert time.monotonic() < end, (self.folder / "log.txt").read_text()[-2000:]
                time.sleep(0.2)

    def stop(self) -> None:
        """Kill the server and its child processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self, held: bool = True) -> None:
        """Suspend the server, which then accepts connections but never responds; or resume it."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP if held else signal.SIGCONT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    created = Server(tmp_path / "server")
    yield created
    created.stop()


def test_a_server_that_is_not_there_is_reported_at_the_start(
    tmp_path: Path, server: Server
) -> None:
    """The message suggests the default store; nothing has been trained."""
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    done = run_bench(
        tmp_path, "run", "--all", "-c", "faults.yaml", "--set", f"tracking.uri={server.uri}"
    )
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench:")]
    assert "start the server, correct the URI, or remove it to use the SQLite store" in line
    assert study.records(tmp_path) == {}


@pytest.mark.slow
def test_a_server_that_never_answers_is_reported_within_a_minute(
    tmp_path: Path, server: Server
) -> None:
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    server.start()
    server.pause()
    started = time.monotonic()
    done = run_bench(
        tmp_path, "run", "--all", "-c", "faults.yaml", "--set", f"tracking.uri={server.uri}"
    )
    assert done.code == 2, done.err
    assert "remove it to use the SQLite store" in done.err
    assert time.monotonic() - started < 60


def wait_for_first_epoch(folder: Path) -> None:
    end = time.monotonic() + 120
    while "epoch 1/" not in study.output(folder):
        assert time.monotonic() < end, study.output(folder)
        time.sleep(0.02)


def assert_filled_later(folder: Path, uri: str) -> None:
    """`bench sync` logs each missing run once; a second call finds all of them in the store."""
    setting = ("--set", f"tracking.uri={uri}")
    first = run_bench(folder, "sync", "-c", "faults.yaml", *setting)
    assert first.code == 0, first.err
    again = run_bench(folder, "sync", "-c", "faults.yaml", *setting)
    assert (again.code, again.out.strip()) == (0, "0 runs logged, 2 already logged"), again.err
    study.assert_whole_in_mlflow(folder, uri)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["dies", "never answers"])
def test_a_server_that_fails_on_the_way_is_filled_later_without_doubles(
    fault: str, tmp_path: Path, server: Server, undisturbed: Undisturbed
) -> None:
    server.start()
    process = study.start(tmp_path, "run", "--all", "--set", f"tracking.uri={server.uri}")
    wait_for_first_epoch(tmp_path)
    server.stop() if fault == "dies" else server.pause()
    assert process.wait(300) == 0, study.output(tmp_path)
    assert study.output(tmp_path).count("MLflow is not available") == 1
    assert "Traceback" not in study.output(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    server.start() if fault == "dies" else server.pause(False)
    assert_filled_later(tmp_path, server.uri)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "locked"])
def test_a_store_that_cannot_be_written_on_the_way_is_filled_later(
    fault: str, tmp_path: Path, small: Path, undisturbed: Undisturbed
) -> None:
    """Only the store is on a full disk or locked by another program; run folders have space."""
    uri = f"sqlite:///{small}/store.db"
    process = study.start(tmp_path, "run", "--all", "--set", f"tracking.uri={uri}")
    wait_for_first_epoch(tmp_path)
    with contextlib.closing(sqlite3.connect(small / "store.db", timeout=60)) as other:
        ballast = fill(small, 0) if fault == "full" else None
        if ballast is None:
            other.execute("BEGIN EXCLUSIVE")
        assert process.wait(300) == 0, study.output(tmp_path)
    assert "MLflow is not available" in study.output(tmp_path)
    assert "Traceback" not in study.output(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    if ballast is not None:
        ballast.unlink()
    assert_filled_later(tmp_path, uri)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "read-only"])
@pytest.mark.parametrize("what", ["store", "folder"])
def test_what_cannot_be_written_is_reported_at_the_start(
    fault: str, what: str, tmp_path: Path, small: Path
) -> None:
    """Before training; the message suggests another store, or another folder name."""
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    fill(small, 0) if fault == "full" else forbid_writing(small)
    setting = f"tracking.uri=sqlite:///{small}/store.db"
    if what == "folder":
        setting = f"tracking.folder={small}/mlruns"
    done = run_bench(tmp_path, "run", "--all", "-c", "faults.yaml", "--set", setting)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench:")]
    assert ("remove it" if what == "store" else "choose another") in line
    assert study.records(tmp_path) == {}


def test_a_lost_store_is_rebuilt_from_the_run_folders(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed.folder / "mlruns", tmp_path / "mlruns")
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    for path in (tmp_path / "mlruns").glob("mlflow.db*"):
        path.unlink()
    done = run_bench(tmp_path, "sync", "-c", "faults.yaml")
    assert (done.code, done.out.strip()) == (0, "2 runs logged, 0 already logged"), done.err
    study.assert_whole_in_mlflow(tmp_path)


def test_two_first_starts_at_once_share_the_work(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """With a store that does not exist yet, every run is done once."""
    processes = [study.start(tmp_path, "run", "--all") for _ in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0], study.output(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)
    assert study.output(tmp_path).count("s total") == 2, study.output(tmp_path)


CREATE = """
import sys
from benchmark.tracking.sqlite_store import opening

with opening(f"sqlite:///{sys.argv[1]}/mlflow.db"):
    pass
"""


@pytest.mark.slow
def test_a_new_store_waits_for_the_disk_a_few_times_alone(tmp_path: Path) -> None:
    """With a disk that takes 300 ms per sync, a study would print nothing for minutes."""
    counts = tmp_path / "counts.txt"
    trace = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(counts)]
    if shutil.which("strace") is None or subprocess.run([*trace, "true"]).returncode:
        pytest.skip("counting system calls needs strace, and the right to trace")
    store = tmp_path / "store"
    store.mkdir()
    subprocess.run([*trace, sys.executable, "-c", CREATE, str(store)], check=True)
    (total,) = [line for line in counts.read_text().splitlines() if line.endswith("total")]
    assert int(total.split()[3]) < 20
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    assert [result.name for result in client.search_experiments()] == ["Default"]
