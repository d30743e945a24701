"""Helper processes end with the one that started them, also while they are still starting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clothclf.orphans import module_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes a second")

STARTER = """\
import subprocess, sys, time
from clothclf.orphans import module_command
child = subprocess.Popen(module_command("sleeper"), start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
SLEEPER = "import sys, time\nprint(__name__, *sys.argv[1:], flush=True)\ntime.sleep(600)\n"


def finding(folder: Path) -> dict[str, str]:
    """An environment in which Python finds the modules of a folder."""
    return {**os.environ, "PYTHONPATH": str(folder)}


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_module_runs_as_by_python_itself(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("import sys\nprint(__name__, *sys.argv[1:])\nsys.exit(7)\n")
    done = subprocess.run(
        module_command("told", "--a", "b c"),
        env=finding(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (7, "__main__ --a b c\n"), done.stderr


@pytest.mark.parametrize("wait_s", [0.0, 0.02, 0.1, 1.0])
def test_it_dies_with_its_parent(tmp_path: Path, wait_s: float) -> None:
    """From the first moment on: it does not begin what takes long to import."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], env=finding(tmp_path), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(wait_s)
        parent.kill()
    end = time.monotonic() + 5
    while is_alive(child):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_ends_at_once_where_its_parent_is_gone_already(tmp_path: Path) -> None:
    """Its parent now is another process than the one that it was told of."""
    (tmp_path / "told.py").write_text("print('begun')\n")
    command = module_command("told")
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, env=finding(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, ""), done.stderr
