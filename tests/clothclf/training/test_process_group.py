"""Distributed training with real gloo processes equals one process with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from clothclf.data.shard import Shard
from tests.clothclf.training.process_group_child import EXACT, ROUNDED, figures, norm

pytestmark = pytest.mark.usefixtures("one_thread")
PROCESSES = 3
Results = dict[str, Any]
Epochs = Sequence[Sequence[float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which three processes trained all cases."""
    created = tmp_path_factory.mktemp("team")
    for name in ("together", "left", "taken over"):
        (created / name).mkdir()
    assert figures(EXACT["batch norm"], checkpoints=created / "taken over", stop_after=6) is None
    command = [sys.executable, "-m", "tests.clothclf.training.process_group_child", str(created)]
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    shared = {"WORLD_SIZE": str(PROCESSES), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback}
    children = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank)})
        for rank in range(PROCESSES)
    ]
    try:
        assert [child.wait(240) for child in children] == [0] * PROCESSES
    finally:
        for child in children:
            child.kill()
            child.wait()
    return created


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    """Results of the processes by case."""
    values: Results = json.loads((folder / "found.json").read_text())
    return values


@pytest.mark.parametrize("name", EXACT)
def test_training_is_that_of_one_process(name: str, results: Results) -> None:
    """Two epochs in float64, with uneven shards and a last batch too small to shard."""
    assert_alike(results[name], figures(EXACT[name]), 1e-7)


@pytest.mark.parametrize("name", ROUNDED)
def test_in_float32_only_rounding_differs(name: str, results: Results) -> None:
    """Two epochs with uneven shards."""
    assert_alike(results[name], figures(ROUNDED[name]), 1e-5)


def assert_alike(results: Epochs, expected: Epochs | None, tolerance: float) -> None:
    assert expected is not None
    for epoch, other in zip(results, expected, strict=True):
        assert epoch == pytest.approx(other, rel=tolerance)


def test_a_batch_norm_is_that_of_the_whole_batch(folder: Path, results: Results) -> None:
    """Compare output, gradients and running statistics in float64."""
    whole = norm(Shard())
    parts = [torch.load(folder / f"norm-{rank}.pt") for rank in range(PROCESSES)]
    for number, expected in enumerate(whole):
        of_each = [part[number] for part in parts]
        if number < 2:
            got = torch.cat(of_each)
        elif number < 4:
            got = torch.stack(of_each).sum(0)
        else:
            got = of_each[0]
        assert torch.allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_a_stopped_training_goes_on_to_the_same_bits(results: Results) -> None:
    """With dropout, stopped in the middle of an epoch."""
    assert results["stopped"] is None
    assert results["gone on"] == results["never stopped"]


def test_one_process_goes_on_where_several_stopped(folder: Path, results: Results) -> None:
    assert results["left"] is None
    went_on = figures(EXACT["batch norm"], checkpoints=folder / "left")
    assert_alike(results["batch norm"], went_on, 1e-7)


def test_several_go_on_where_one_process_stopped(results: Results) -> None:
    assert_alike(results["taken over"], results["batch norm"], 1e-7)


@pytest.mark.parametrize("count", range(1, 12))
def test_shares_are_a_batch_cut_evenly_or_all_of_it(count: int) -> None:
    shares = [Shard(rank, 4).of(slice(20, 20 + count)) for rank in range(4)]
    if count < 4:
        assert shares == [slice(20, 20 + count)] * 4
        return
    assert [place for share in shares for place in range(share.start, share.stop)] == [
        *range(20, 20 + count)
    ]
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
