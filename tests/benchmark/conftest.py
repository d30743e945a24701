"""A study small enough to run for real in seconds, and the command line to run it with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.benchmark.forked import run_forked

COMMAND = (sys.executable, "-c", "from benchmark.cli import main; main()")

TINY = """\
study: tiny
data: {source: demo, image_size: 32, demo: {images_per_class: 10, seed: 0}}
architectures: [test_resnet, test_efficientnet]
model: {weights: none, mode: frozen, standardize_features: true}
train: {epochs: 2, learning_rate: 0.01, patience: 5}
seeds: [0]
device: cpu
measure: false
tracking: {report: false}
"""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


Bench = Callable[..., Finished]


def environment() -> dict[str, str]:
    """For tiny studies: without the machine's own MLflow settings, and on one thread.

    More threads make tiny models no faster, and wait by spinning where other processes compete.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return {**own, "OMP_NUM_THREADS": "1"}


def heed_signals() -> None:
    """In a new process: take Ctrl-C and the like, although who runs the tests may ignore them."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def free_port() -> int:
    """A port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_bench(
    folder: Path,
    *arguments: str,
    timeout_s: float = 300,
    variables: Mapping[str, str] | None = None,
    forked: bool = False,
) -> Finished:
    """Run `bench` in a folder, without a terminal; `variables` are its whole environment.

    Without them, or with `forked`, it is forked from a process that has made its imports, and
    begins at once. Of what is read on import, `forked` heeds only OMP_NUM_THREADS and PYTHONPATH.
    """
    if variables is None or forked:
        variables = environment() if variables is None else variables
        return Finished(*run_forked(arguments, folder, variables, timeout_s))
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """`bench(…)` in an empty folder that has tiny.yaml."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    return lambda *arguments: run_bench(tmp_path, *arguments)


@dataclass(frozen=True)
class StudyRun:
    """A folder in which the tiny study has been run, and what its command said."""

    folder: Path
    first: Finished
