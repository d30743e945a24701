"""The examples of docs/python-api.md run, and the public names are those that it lists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
import clothclf
from benchmark.inference.predictor import Prediction
from tests.benchmark.conftest import environment

TEXT = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text("utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))


def test_the_examples_run_in_order(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "test_efficientnet" in done.stdout
    assert "GMACs, 4.02 M parameters" in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_former_names_are_accepted_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="use FilePrediction"):
        former = benchmark.Predicted
    assert former is benchmark.FilePrediction
    prediction = Prediction((("a", 1.0),))
    with pytest.warns(DeprecationWarning, match="use prediction"):
        assert former(Path("a.png"), prediction).answer is prediction


def test_every_public_name_exists() -> None:
    for package in (benchmark, clothclf):
        for name in package.__all__:
            assert getattr(package, name).__module__.startswith(f"{package.__name__}.")
    for package, name in re.findall(r"`(benchmark|clothclf)\.(\w+)`", TEXT):
        assert name in sys.modules[package].__all__
