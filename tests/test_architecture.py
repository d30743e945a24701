"""What starting up may import; the layers are contracts of import-linter in setup.cfg."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


HEAVY = {"torch", "timm", "mlflow"}
WITHOUT_HEAVY = [
    "clothclf.settings",
    "clothclf.results",
    "clothclf.cost.count",
    "benchmark.cli",
    "benchmark.config.study",
    "benchmark.runs.spec",
    "benchmark.runs.record",
    "benchmark.report.render",
    "benchmark.report.collect",
    "benchmark.workflows.share_runs",
    "benchmark.gallery.site",
]


def test_settings_records_reports_and_packs_import_nothing_heavy() -> None:
    """One interpreter imports all, and says after each what it has loaded."""
    code = "import sys\n" + "".join(
        f"import {module}; print({module!r}, *sorted({HEAVY!r} & sys.modules.keys()))\n"
        for module in WITHOUT_HEAVY
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split("\n")[:-1] == WITHOUT_HEAVY


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


LIGHT = HEAVY | {"pandas", "numpy", "rich", "pydantic"}


def test_help_has_an_example_and_imports_nothing_heavy() -> None:
    """One interpreter shows the help of all commands, and says after each what it has loaded."""
    code = f"""
import io, contextlib, json, sys, time
from benchmark.cli import main
shown = []
for verb in json.loads(sys.argv[1]):
    out, started = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*verb, "--help"], prog_name="bench")
    seconds = time.perf_counter() - started
    shown.append([out.getvalue(), sorted({LIGHT!r} & sys.modules.keys()), seconds])
print(json.dumps(shown))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(VERBS)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    for verb, (text, heavy, seconds) in zip(VERBS, json.loads(done.stdout), strict=True):
        assert " ".join(["Usage: bench", *verb]) in text
        assert "Example" in text or not verb
        assert not heavy, verb
        assert seconds < 0.3, verb


def test_help_starts_at_once() -> None:
    """Under 0.3 seconds, the fastest of five, as other work may hold one up."""
    command = [sys.executable, "-c", "from benchmark.cli import main; main()", "run", "--help"]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert "bench run" in done.stdout
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


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
