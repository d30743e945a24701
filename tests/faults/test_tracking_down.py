"""A tracking server that is away, or goes away: the study goes on, the store is filled later."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmark.conftest import run_bench
from tests.faults import study
from tests.faults.conftest import Undisturbed


class Server:
    """A real MLflow server on loopback, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        """Choose a free port."""
        folder.mkdir()
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
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
        """Kill it and what it started."""
        import os
        import signal

        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    yield made
    made.stop()


def test_a_server_that_is_not_there_is_told_at_the_start(tmp_path: Path, server: Server) -> None:
    """With the default as a way out; nothing has been trained."""
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    done = run_bench(
        tmp_path, "run", "--all", "-c", "faults.yaml", "--set", f"tracking.uri={server.uri}"
    )
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench:")]
    assert "start the server, mend the URI, or leave it out to use the SQLite store" in line
    assert study.records(tmp_path) == {}


@pytest.mark.slow
def test_a_server_that_dies_on_the_way_is_filled_later_without_doubles(
    tmp_path: Path, server: Server, undisturbed: Undisturbed
) -> None:
    server.start()
    setting = ("--set", f"tracking.uri={server.uri}")
    process = study.start(tmp_path, "run", "--all", *setting)
    end = time.monotonic() + 120
    while "epoch 1/" not in study.output(tmp_path):
        assert time.monotonic() < end, study.output(tmp_path)
        time.sleep(0.02)
    server.stop()
    assert process.wait(300) == 0, study.output(tmp_path)
    assert study.output(tmp_path).count("MLflow does not take what runs report") == 1
    assert study.figures(tmp_path) == undisturbed.figures
    server.start()
    for expected in ("2 runs logged, 0 were there", "0 runs logged, 2 were there"):
        done = run_bench(tmp_path, "sync", "-c", "faults.yaml", *setting)
        assert (done.code, done.out.strip()) == (0, expected), done.err
    study.assert_whole_in_mlflow(tmp_path, server.uri)


def test_a_lost_store_is_rebuilt_from_the_run_folders(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed.folder / "mlruns", tmp_path / "mlruns")
    (tmp_path / "faults.yaml").write_text(study.STUDY)
    for path in (tmp_path / "mlruns").glob("mlflow.db*"):
        path.unlink()
    done = run_bench(tmp_path, "sync", "-c", "faults.yaml")
    assert (done.code, done.out.strip()) == (0, "2 runs logged, 0 were there"), done.err
    study.assert_whole_in_mlflow(tmp_path)


def test_two_first_starts_at_once_share_the_work(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """On a store that is not there yet, and every run once."""
    processes = [study.start(tmp_path, "run", "--all") for _ in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0], study.output(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)
    assert study.output(tmp_path).count("in all") == 2, study.output(tmp_path)
