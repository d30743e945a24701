"""A study that is killed at any moment ends as if nothing had happened.

The moments are drawn from a seed, which is printed; BENCH_FAULTS_SEED repeats them.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.conftest import Undisturbed

SEED = int(os.environ.get("BENCH_FAULTS_SEED", time.time_ns() % 2**32))


def kill_at(folder: Path, moment_s: float, *arguments: str) -> bool:
    """Kill the study's process group after some seconds; return whether it was still running."""
    process = study.start(folder, "run", "--all", *arguments)
    end = time.monotonic() + moment_s
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    study.assert_no_process(folder)
    return alive


def survive(undisturbed: Undisturbed, folder: Path, moment_s: float, *arguments: str) -> None:
    kill_at(folder, moment_s, *arguments)
    study.finish(folder, *arguments)
    assert study.figures(folder) == undisturbed.figures
    study.assert_whole_in_mlflow(folder)
    study.assert_no_process(folder)
    study.assert_no_lock(folder)


def test_killed_once_at_some_moment(undisturbed: Undisturbed, tmp_path: Path) -> None:
    moment = random.Random(SEED).uniform(0.3, 0.95) * undisturbed.seconds
    print(f"seed {SEED}, killed after {moment:.2f} s")
    survive(undisturbed, tmp_path, moment)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(100))
def test_killed_at_a_hundred_moments(number: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Alternately with one run and with two concurrent runs."""
    draw = random.Random(f"{SEED} {number}")
    arguments = ("--workers", "2") if number % 2 else ()
    moment = draw.uniform(0, 1) * undisturbed.seconds / (1.5 if arguments else 1)
    print(f"seed {SEED}, killed after {moment:.2f} s")
    survive(undisturbed, tmp_path, moment, *arguments)


def fork_server(folder: Path) -> int:
    """Process ID of a study's fork server; 0 if there is none."""
    servers = [pid for pid, text in study.processes_of(folder).items() if "fork_server" in text]
    return min(servers, default=0)  # a fork has the name of the server until it sets its own


def kill_server(folder: Path, moment_s: float, *arguments: str) -> None:
    """Kill the fork server some seconds after it exists, and await the study."""
    process = study.start(folder, "run", "--all", *arguments)
    while not (server := fork_server(folder)) and process.poll() is None:
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment_s)
    if process.poll() is None:
        os.kill(server, signal.SIGKILL)
    assert process.wait(300) == 0, study.output(folder)[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
@pytest.mark.parametrize(
    "number", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 20))]
)
def test_runs_survive_their_fork_server(
    number: int, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The runs that end with it are started again, in the same command."""
    draw = random.Random(f"{SEED} server {number}")
    arguments = ("--workers", "2") if number % 2 else ()
    moment = draw.uniform(0, 0.8) * undisturbed.seconds / (1.5 if arguments else 1)
    print(f"seed {SEED}, fork server killed after {moment:.2f} s")
    kill_server(tmp_path, moment, *arguments)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)
    study.assert_no_process(tmp_path)
    study.assert_no_lock(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_a_run_in_training_resumes_after_its_fork_server_was_killed(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Killed once the first epoch is written; a random moment may lie between two runs."""
    process = study.start(tmp_path, "run", "--all")
    while not list((tmp_path / "mlruns").rglob("epochs.jsonl")) and process.poll() is None:
        time.sleep(0.01)
    os.kill(fork_server(tmp_path), signal.SIGKILL)
    assert process.wait(300) == 0, study.output(tmp_path)[-3000:]
    assert "was killed; it starts again" in study.output(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)


def test_a_killed_run_in_the_store_is_closed_by_the_next_start(tmp_path: Path) -> None:
    """Only runs of dead processes: a live process keeps its run open."""
    from benchmark.runs.spec import RunSpec
    from benchmark.tracking.heartbeat import HOST_TAG, PROCESS_TAG, heartbeat_tags, is_dead
    from benchmark.tracking.mlflow_store import MlflowStore
    from tests.benchmark.examples import make_spec

    uri = f"sqlite:///{tmp_path}/m.db"
    store = MlflowStore(uri, "faults", tmp_path)
    specs: list[RunSpec] = [make_spec(seed=seed) for seed in (0, 1)]
    for spec in specs:
        store.start(spec)
    dead = {**heartbeat_tags(), PROCESS_TAG: "4194999 1"}
    assert is_dead(dead)
    assert not is_dead(heartbeat_tags())
    assert not is_dead({**dead, HOST_TAG: "another"})
    store._log(specs[0].run_id, tags=dead)
    again = MlflowStore(uri, "faults", tmp_path)
    states = {spec.seed: again._find(spec.run_id)[0].info.status for spec in specs}
    assert states == {0: "KILLED", 1: "RUNNING"}
