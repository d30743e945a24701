"""Compare the three counters with hand-counted networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import TOYS

from clothclf.cost.counters.fvcore_counter import FvcoreCount, count_with_fvcore
from clothclf.cost.counters.torch_counter import count_with_torch

NAMES = sorted(TOYS)


@pytest.fixture(scope="module")
def flopth_figures() -> dict[str, int | None]:
    """flopth's figures, computed in a child process."""
    program = Path(__file__).with_name("toys.py")
    result = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(result.stdout.splitlines()[-1])


def fvcore(name: str) -> FvcoreCount:
    toy = TOYS[name]
    return count_with_fvcore(toy.build().eval().requires_grad_(False), torch.zeros(toy.shape))


@pytest.mark.parametrize("name", NAMES)
def test_torchs_counter_gives_the_closed_form_to_the_digit(name: str) -> None:
    toy = TOYS[name]
    with torch.device("meta"):
        record = count_with_torch(toy.build().eval(), torch.zeros(toy.shape))
    assert record.result.macs == toy.macs
    assert sum(record.result.by_operator.values()) == toy.macs
    assert sum(record.result.by_module.values()) == toy.macs


@pytest.mark.parametrize("name", NAMES)
def test_fvcores_trace_with_exact_handles_gives_the_closed_form_to_the_digit(name: str) -> None:
    assert fvcore(name).multiply_adds.macs == TOYS[name].macs


@pytest.mark.parametrize("name", NAMES)
def test_flopth_is_wrong_where_and_how_we_say(
    name: str, flopth_figures: dict[str, int | None]
) -> None:
    assert flopth_figures[name] == TOYS[name].flopth


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lstm"])
def test_activations_are_the_outputs_of_products_and_of_attention_scores(name: str) -> None:
    toy = TOYS[name]
    with torch.device("meta"):
        record = count_with_torch(toy.build().eval(), torch.zeros(toy.shape))
    assert record.activations == toy.activations


@pytest.mark.parametrize(
    ("name", "own", "gaps"),
    [
        ("attention, fused", 0, {"scaled_dot_product_attention": -3_200}),
        ("same", 0, {"_convolution_mode": -36_864}),
        ("lstm", 0, {"lstm": -15_360}),
        ("batch norm", 512 + 1_024, {}),
        ("attention, unfused", 3_200, {}),
    ],
)
def test_fvcore_as_it_comes_lacks_these_and_adds_norms(
    name: str, own: int, gaps: dict[str, int]
) -> None:
    count = fvcore(name)
    assert count.as_it_comes.macs == own
    assert count.gaps == gaps
    assert set(gaps) <= set(count.as_it_comes.not_counted)


def test_macs_inside_modules_add_up_from_the_layers() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.project(x)
            return y @ y.transpose(1, 2) @ y

    with torch.device("meta"):
        model = nn.Sequential(Block(), Block()).eval()
        record = count_with_torch(model, torch.zeros(1, 10, 16))
    assert record.result.by_module == {
        "0": 3_200, "0.project": 2_560, "1": 3_200, "1.project": 2_560,
    }  # fmt: skip
    assert record.inclusive == {
        "": 11_520, "0": 5_760, "0.project": 2_560, "1": 5_760, "1.project": 2_560,
    }  # fmt: skip
    assert record.shapes["1"] == (1, 10, 16)


def test_torchs_counter_names_what_it_passes_over() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.AvgPool2d(2)).eval()
        record = count_with_torch(model, torch.zeros(1, 3, 8, 8))
    assert record.result.not_counted == {"gelu": 1, "avg_pool2d": 1}
