"""Networks of one function, with weights of another scale, over ten seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.test_tuning import EQUAL_NETWORKS, EQUAL_NETWORKS_TUNED, run_equal_networks

SEEDS = range(10)


@pytest.mark.slow
def test_tuning_removes_a_difference_that_one_rate_makes(tmp_path: Path) -> None:
    shared = run_equal_networks(tmp_path / "shared", EQUAL_NETWORKS, *SEEDS)
    assert all(points >= 5 for points, _ in shared)
    tuned = run_equal_networks(tmp_path / "tuned", EQUAL_NETWORKS_TUNED, *SEEDS)
    print(tuned)
    assert sum(verdict != "apart" for _, verdict in tuned) >= 9
