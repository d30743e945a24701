"""Networks of one function, with weights of another scale, over ten seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.test_tuning import TWINS, TWINS_TUNED, run_twins

SEEDS = range(10)


@pytest.mark.slow
def test_tuning_removes_a_difference_that_one_rate_makes(tmp_path: Path) -> None:
    shared = run_twins(tmp_path / "shared", TWINS, *SEEDS)
    assert all(points >= 5 for points, _ in shared)
    tuned = run_twins(tmp_path / "tuned", TWINS_TUNED, *SEEDS)
    print(tuned)
    assert sum(verdict != "apart" for _, verdict in tuned) >= 9
