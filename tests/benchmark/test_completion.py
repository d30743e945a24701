"""Shell completion: its scripts are produced, and complete commands and options."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmark.conftest import environment, run_bench

SHELLS = {"bash": "complete -o nosort", "zsh": "compdef", "fish": "complete --no-files"}


def completed(folder: Path, shell: str, words: str, last: str) -> str:
    position = str(len(words.split()) - (1 if last else 0))
    variables = {
        "_BENCH_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": last if shell == "fish" else position,
    }
    done = run_program(folder, variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_program(folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `bench` by its name, of which click makes the name of the variable."""
    bench = Path(sys.executable).with_name("bench")
    if not bench.exists():
        pytest.skip("no program `bench` beside Python")
    return subprocess.run(
        [bench], cwd=folder, env={**environment(), **variables}, capture_output=True, text=True
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_produced(shell: str, tmp_path: Path) -> None:
    done = run_program(tmp_path, {"_BENCH_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0, done.stderr
    assert SHELLS[shell] in done.stdout
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.stdout)
        subprocess.run([shell, "-n", script], check=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_and_options_are_completed(shell: str, tmp_path: Path) -> None:
    assert re.search(r"\breport\b", completed(tmp_path, shell, "bench rep", "rep"))
    assert re.search(r"\bstats\b", completed(tmp_path, shell, "bench data st", "st"))
    assert "--dry-run" in completed(tmp_path, shell, "bench run --dr", "--dr")
    assert not re.search(r"\breport\b", completed(tmp_path, shell, "bench da", "da"))


def test_the_first_help_names_init(tmp_path: Path) -> None:
    assert re.search(r"^  init +Write a commented config", run_bench(tmp_path, "--help").out, re.M)
