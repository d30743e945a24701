"""No process of bench runs Python files of the current folder, whatever their names."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clothclf.process.command import code_command, module_command
from tests.benchmark.conftest import TINY, environment, free_port, heed_signals

BENCH = Path(sys.executable).with_name("bench")
NAMES = (
    *("statistics", "random", "json", "json/__init__", "string", "uuid", "signal", "selectors"),
    *("torch", "timm", "numpy", "flopth", "mlflow", "uvicorn", "benchmark", "clothclf", "ray"),
)
"""Modules that bench and its libraries import, some of them late or conditionally."""
HOSTILE = "from pathlib import Path\nPath({marker!r}).touch()\nraise RuntimeError('not ours')\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Folder with a config and with files named like modules of Python and other packages."""
    folder = tmp_path / "current"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    for name in NAMES:
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HOSTILE.format(marker=str(tmp_path / f"ran-{path.stem}")))
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Run the installed command in a folder; check that no file there ran; return all output."""
    done = subprocess.run(
        [BENCH, *arguments, "-c", "tiny.yaml"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert_none_ran(folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def assert_none_ran(folder: Path) -> None:
    assert [path.name for path in folder.parent.glob("ran-*")] == []


@pytest.mark.parametrize(
    "command",
    [
        code_command("import random, statistics; print('done')"),
        module_command("json.tool", "--help"),
    ],
    ids=["code", "module"],
)
def test_no_child_imports_from_the_current_folder(command: Sequence[str], hostile: Path) -> None:
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_none_ran(hostile)


@pytest.mark.slow
def test_a_study_runs_there(hostile: Path) -> None:
    """Its runs, counts and probes, in one process each, and in two processes for one network."""
    assert "accuracy" in run(hostile, "run", "test_resnet", "--set", "model.precision=auto")
    assert "accuracy" in run(
        hostile, "run", "test_resnet", "--seed", "1", "--processes-per-run", "2",
        "--set", "model={weights: none, mode: finetune}",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("plan",),
        ("cost", "test_resnet", "--measure"),
        ("models", "test_*", "--max-gmacs", "1"),
        ("doctor",),
        ("data", "stats"),
        ("select", "--budget", "10m", "--dry-run", "test_resnet"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_other_commands_run_there(arguments: Sequence[str], hostile: Path) -> None:
    run(hostile, *arguments)


@pytest.mark.slow
def test_mlflows_pages_are_served_there(hostile: Path) -> None:
    port = free_port()
    with (hostile.parent / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [BENCH, "ui", "-c", "tiny.yaml", "--port", str(port)],
            cwd=hostile,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=heed_signals,
        )
    try:
        assert process.stdout is not None
        assert f"127.0.0.1:{port}" in process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert_none_ran(hostile)


@pytest.mark.slow
def test_a_cluster_is_started_there(hostile: Path) -> None:
    pytest.importorskip("ray")
    run(hostile, "run", "test_resnet", "--executor", "ray")


def test_own_architectures_are_still_found_there(tmp_path: Path) -> None:
    """By name, as requested; a file beside them does not shadow a library's module."""
    (tmp_path / "statistics.py").write_text("raise RuntimeError('not ours')\n")
    (tmp_path / "my_parts.py").write_text("WIDTH = 4\n")
    (tmp_path / "my_nets.py").write_text(
        "def small():\n"
        "    from torch import nn\n"
        "    from my_parts import WIDTH\n"
        "    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert "accuracy" in run(tmp_path, "run", "my_nets:small")
