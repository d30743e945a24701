"""Toy networks with hand-counted multiply-adds.

Run as a program, it counts them with flopth, which modifies the process, and prints JSON.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


class Functional(nn.Module):
    """Network that calls a function; it has a parameter, since flopth needs its device."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.zeros(shape) for shape in shapes or [(1,)])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.weights)


class Thrice(nn.Module):
    """Network that calls one layer three times."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(self.layer(x)))


class Pair(nn.Module):
    """Network that returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.layer(x)
        return y, y


class FirstOfLSTM(nn.Module):
    """Bidirectional LSTM over 10 steps of width 16, with hidden size 8."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 8, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


@dataclass(frozen=True)
class Toy:
    """Network, input shape and expected cost."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    macs: int
    """By hand."""
    flopth: int | None
    """What flopth 0.1.6 says; None where it fails."""
    activations: int
    """Output elements of convolutions, linear layers and products."""


MAP = (1, 8, 8, 8)
TOKENS = (1, 10, 16)
HEADS = (1, 2, 10, 8)

TOYS = {
    # 3 x 8 x 9 weights at 6 x 6 places; flopth adds the 288 biases.
    "convolution": Toy(lambda: nn.Conv2d(3, 8, 3), (1, 3, 8, 8), 7_776, 7_776 + 288, 288),
    # 8 x 2 x 9 weights at 6 x 6 places.
    "grouped": Toy(lambda: nn.Conv2d(8, 8, 3, groups=4, bias=False), MAP, 5_184, 5_184, 288),
    # 8 x 8 x 9 weights at 3 x 3 places.
    "strided": Toy(lambda: nn.Conv2d(8, 8, 3, stride=2, bias=False), MAP, 5_184, 5_184, 72),
    # 8 x 8 x 9 weights at 4 x 4 places.
    "dilated": Toy(lambda: nn.Conv2d(8, 8, 3, dilation=2, bias=False), MAP, 9_216, 9_216, 128),
    # 8 x 8 x 9 weights at 8 x 8 places, in torch's own words for the padding.
    "same": Toy(
        lambda: nn.Conv2d(8, 8, 3, padding="same", bias=False), MAP, 36_864, 36_864, 512
    ),
    # 8 x 4 x 4 weights at 8 x 8 places of the input; flopth takes the output's 16 x 16.
    "transposed": Toy(
        lambda: nn.ConvTranspose2d(8, 4, 2, stride=2), MAP, 8_192, 4 * 8_192 + 1_024, 1_024
    ),
    "linear": Toy(lambda: nn.Linear(16, 32), (1, 16), 512, 512, 32),
    # 10 tokens; flopth multiplies 10 by 10.
    "tokens": Toy(lambda: nn.Linear(16, 32), TOKENS, 5_120, 100, 320),
    # 7 x 7 places; flopth multiplies 7 by 7.
    "map in linear": Toy(lambda: nn.Linear(16, 32), (1, 7, 7, 16), 25_088, 49, 1_568),
    "functional linear": Toy(
        lambda: Functional(functional.linear, (32, 16)), TOKENS, 5_120, 0, 320
    ),
    "functional convolution": Toy(
        lambda: Functional(functional.conv2d, (8, 8, 1, 1)), MAP, 4_096, 0, 512
    ),
    # 10 x 10 x 16 for x x^T.
    "matmul": Toy(lambda: Functional(lambda x, w: x @ x.transpose(1, 2)), TOKENS, 1_600, 0, 100),
    "einsum": Toy(
        lambda: Functional(lambda x, w: torch.einsum("bnc,bmc->bnm", x, x)), TOKENS, 1_600, 0, 100
    ),
    # 2 heads, 10 x 10 scores of width 8, and as much again for the sum over values.
    "attention, fused": Toy(
        lambda: Functional(lambda x, w: functional.scaled_dot_product_attention(x, x, x)),
        HEADS, 3_200, 0, 360,
    ),
    "attention, unfused": Toy(
        lambda: Functional(lambda x, w: (x @ x.transpose(2, 3)).softmax(-1) @ x),
        HEADS, 3_200, 0, 360,
    ),
    # 3 x 8 x 8 weights at 8 x 8 places; flopth keeps the last call alone.
    "called three times": Toy(
        lambda: Thrice(nn.Conv2d(8, 8, 1, bias=False)), MAP, 12_288, 4_096, 1_536
    ),
    "batch norm": Toy(lambda: nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1, bias=False)),
                      MAP, 512, 512 + 1_024, 64),
    "tuple": Toy(Pair, MAP, 4_096, 4_096, 512),
    # 2 directions, 10 steps, 4 gates of 8 from 16 inputs and 8 hidden; flopth fails on the tuple.
    "lstm": Toy(FirstOfLSTM, TOKENS, 2 * 10 * 32 * 24, None, 2 * 10 * 32 * 2),
}  # fmt: skip


def count_all_with_flopth() -> dict[str, int | None]:
    """Count all toys with flopth; None where it fails."""
    from clothclf.cost.counters.flopth_counter import count_with_flopth

    figures: dict[str, int | None] = {}
    for name, toy in TOYS.items():
        with torch.device("meta"):
            # flopth sees layers below the network, not the network itself.
            model, image = nn.Sequential(toy.build()), torch.zeros(toy.shape)
        try:
            figures[name] = count_with_flopth(model, image).macs
        except AttributeError:
            figures[name] = None
    return figures


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(count_all_with_flopth()))
