"""Verdicts on counters: agreed, explained, disputed and unchecked."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clothclf.cost.counters.base import Counted
from clothclf.cost.counters.flopth_counter import explain_flopth
from clothclf.cost.counters.fvcore_counter import explain_fvcore
from clothclf.cost.counters.torch_counter import count_with_torch
from clothclf.cost.explain import cross_check, judge, verdicts_on
from clothclf.results import CounterResult


def result(macs: int | None, operators: dict[str, int] | None = None) -> CounterResult:
    return CounterResult(macs, operators or {}, {}, {"lstm": 1}, "", error="" if macs else "broke")


@pytest.mark.parametrize(
    ("counted", "causes", "verdict"),
    [
        (1_019, {}, "agreed"),
        (981, {}, "agreed"),
        (1_100, {"norms": 100}, "explained"),
        (1_100, {"norms": 85}, "explained"),
        (1_100, {"norms": 79}, "disputed"),
        (100, {}, "disputed"),
        (100, {"tokens in Linear": -900}, "explained"),
        (100, {"tokens in Linear": -950, "norms": 20}, "disputed"),
        (0, {"tokens in Linear": -1_000}, "explained"),
        (None, {}, "unchecked"),
    ],
)
def test_a_verdict_needs_causes_that_add_up(
    counted: int | None, causes: dict[str, int], verdict: str
) -> None:
    assert judge("flopth", 1_000, result(counted), causes).verdict == verdict


def test_reasons_name_the_causes_largest_first_and_leave_out_trifles() -> None:
    causes = {"biases of convolutions": 2, "norms": 30, "tokens in Linear": -500}
    finding = judge("flopth", 1_000, result(532), causes)
    assert finding.reason == "flopth -46.8%: tokens in Linear -50.0%, norms +3.0%"


def test_a_counter_without_a_figure_says_why() -> None:
    assert judge("flopth", 1_000, result(None), {}).reason == "flopth gives no figure: broke"


@pytest.mark.parametrize(("check", "verdict"), [(10_000_999, "agreed"), (10_001_100, "disputed")])
def test_the_headline_needs_both_counters_to_a_ten_thousandth(check: int, verdict: str) -> None:
    """One counter that disagrees makes the verdicts on all counters disputed."""
    own = result(10_000_000)
    counted = {"flopth": Counted(own), "fvcore": Counted(own, multiply_adds=result(check))}
    verdicts = verdicts_on(10_000_000, counted)
    assert {name: it.verdict for name, it in verdicts.items()} == dict.fromkeys(counted, verdict)


def test_a_disputed_headline_is_shown_with_its_range() -> None:
    disputed = cross_check("fvcore", 2_000_000_000, result(1_000_000_000))
    assert disputed is not None
    assert "between 1 G and 2 G (torch 2 G, fvcore 1 G" in disputed.reason
    assert "lstm" in disputed.reason


class Mixed(nn.Module):
    """Network with one of each layer that flopth miscounts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2, bias=False)
        self.down = nn.AvgPool2d(2)
        self.shared = nn.Conv2d(8, 8, 1, bias=False)
        self.tokens = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(self.up(self.act(self.norm(self.stem(x)))))
        x = self.shared(self.shared(x)).flatten(2).transpose(1, 2)
        x = self.tokens(x)
        return x @ x.transpose(1, 2) @ x


def test_flopths_causes_are_worked_out_layer_by_layer() -> None:
    with torch.device("meta"):
        record = count_with_torch(Mixed().eval(), torch.zeros(1, 3, 24, 24))
    # 6 x 6 places after the stem, 8 channels: 288 elements.
    assert explain_flopth(record, fused_attention=False) == {
        "biases of convolutions": 288,
        "norms": 2 * 288,
        "activations": 288,
        "pools": 4 * 288,
        "transposed convolutions": 3 * (6 * 6 * 4 * 64),
        "layers called again, counted once": -6 * 6 * 64,
        # 36 tokens of 8: counted as 36 x 36.
        "tokens in Linear": 36 * 36 - 36 * 8 * 8,
        "matrix products": -2 * 36 * 36 * 8,
    }


def test_fvcores_causes_are_its_norms_and_its_gaps() -> None:
    own = result(0, {"conv": 900, "batch_norm": 20, "layer_norm": 30, "adaptive_avg_pool2d": 5})
    gaps = {"scaled_dot_product_attention": -70, "einsum": 3}
    assert explain_fvcore(own, gaps) == {
        "norms": 50, "pools": 5, "fused attention": -70, "its handle for einsum": 3,
    }  # fmt: skip
