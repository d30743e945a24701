"""What is logged, by whom and at which level."""

from __future__ import annotations

import re
from pathlib import Path

from tests.benchmark.conftest import TINY, Bench, environment, run_bench

FAILING = ("run", "test_resnet", "-c", "tiny.yaml", "--set", "train.learning_rate=1e38")
LINE = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "


def logged(text: str, level: str) -> list[str]:
    """Messages of a level with their logger."""
    return re.findall(f"{LINE}{level} (.*)$", text, re.MULTILINE)


def test_a_failed_runs_traceback_is_in_its_log_and_shown_by_debug(
    bench: Bench, tmp_path: Path
) -> None:
    silent = bench(*FAILING)
    assert silent.code == 1
    assert "Traceback" not in silent.err
    assert not re.search(LINE, silent.err, re.MULTILINE)
    (log,) = (tmp_path / "mlruns/runs/tiny").glob("*/log.txt")
    text = log.read_text()
    assert "test_resnet-s0: stage train" in logged(text, "INFO")
    assert logged(text, "ERROR") == ["test_resnet-s0: failed"]
    assert "Traceback" in text
    shown = bench(*FAILING, "--retry-failed", "--debug")
    assert "test_resnet-s0 failed in stage train" in shown.err
    assert "Traceback" in shown.err
    assert any("starting test_resnet-s0" in line for line in logged(shown.err, "INFO"))


def test_verbose_tells_what_is_done_without_tracebacks(bench: Bench) -> None:
    done = bench(*FAILING, "-v")
    result = logged(done.err, "INFO")
    assert any(line.startswith("clothclf.data.prepare: reading demo") for line in result)
    assert any("starting test_resnet-s0" in line for line in result)
    assert "Traceback" not in done.err


def test_debug_shows_where_a_user_error_comes_from(bench: Bench) -> None:
    asked = ("report", "-c", "tiny.yaml", "--set", "train.epochs=none")
    assert "Traceback" not in bench(*asked).err
    done = bench(*asked, "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("bench: --set train.epochs=none")


def test_a_new_interpreter_forks_its_runs(tmp_path: Path) -> None:
    """Also after its own imports, of which some set environment variables."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    asked = ("run", "test_resnet", "-c", "tiny.yaml", "--debug", "--set", "seeds=[0,1]")
    done = run_bench(tmp_path, *asked, variables=environment())
    assert done.code == 0, done.err
    forked = [line for line in logged(done.err, "DEBUG") if "forked process" in line]
    assert sum("benchmark.engine.worker" in line for line in forked) == 2
