"""What starting up may import; the layers are contracts of import-linter in setup.cfg."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


HEAVY = {"torch", "timm", "mlflow"}


@pytest.mark.parametrize(
    "module",
    [
        "clothclf.settings",
        "clothclf.results",
        "clothclf.cost.count",
        "benchmark.config.study",
        "benchmark.runs.spec",
        "benchmark.runs.record",
        "benchmark.report.render",
        "benchmark.report.collect",
        "benchmark.cli",
    ],
)
def test_settings_records_and_reports_import_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


VERBS = [
    [],
    ["run"],
    ["select"],
    ["report"],
    ["compare"],
    ["curve"],
    ["deploy"],
    ["cost"],
    ["models"],
    ["runs", "list"],
    ["pack"],
    ["merge"],
    ["data"],
    ["data", "stats"],
    ["data", "preview"],
    ["data", "audit"],
    ["ui"],
    ["init"],
    ["config", "schema"],
]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_has_an_example_and_starts_at_once(verb: list[str]) -> None:
    """Under 0.3 seconds, the fastest of five (other work may hold one up), with no heavy import."""
    command = [sys.executable, "-X", "importtime", "-c"]
    command += ["from benchmark.cli import main; main()", *verb, "--help"]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3
    assert "bench " + " ".join(verb) in done.stdout
    assert "Example" in done.stdout or not verb
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not imported & (HEAVY | {"pandas", "numpy", "rich", "pydantic"})


def test_python_is_started_by_one_module_alone() -> None:
    """Whose commands keep the current folder off the new process's path.

    The script of a kit runs where bench is not; it starts the kit itself, which is all of its path.
    """
    result = {
        str(path.relative_to(ROOT))
        for package in ("benchmark", "clothclf")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "executable"
    }
    assert result == {"clothclf/process/command.py", "benchmark/deploy/kit_script.py"}
