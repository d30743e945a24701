"""Forty architectures within a quarter of an hour, as a user would ask for them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.benchmark.conftest import run_bench

FORTY = Path(__file__).parent / "forty.txt"


@pytest.mark.slow
def test_forty_architectures_on_the_demo(tmp_path: Path) -> None:
    """On two cores this takes 15 minutes at most; other machines and other work may take longer."""
    started = time.monotonic()
    done = run_bench(
        tmp_path,
        *("select", "-c", "demo", "--budget", "15m", "--set", "measure=false"),
        *("-o", "selection.json", f"@{FORTY}"),
        timeout_s=3600,
    )
    seconds = time.monotonic() - started
    assert done.code == 0, done.err[-3000:]
    result = json.loads((tmp_path / "selection.json").read_text())
    entered = [item for item in result["architectures"] if item["reached"]]
    print(f"{len(entered)} architectures in {seconds / 60:.1f} minutes; {result['spent_s']}")
    assert len(entered) >= 40
    assert result["winner"] == result["architectures"][0]["architecture"]
    assert result["expected_s"] <= 15 * 60
