"""A step gives the same result in parts, recorded, and with images on the device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clothclf.training.optimizer import make_optimizer, set_learning_rate
from clothclf.training.step import EagerStep, RecordedStep, is_out_of_memory
from tests.clothclf.training.test_loop import SPLITS, build, feed, recipe

pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
    ).train()


def some_batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 12, generator=generator), torch.randint(3, (n,), generator=generator))
        for n in sizes
    ]


def carry_out(
    module: nn.Module,
    make: Callable[[EagerStep, torch.optim.Optimizer], Callable[..., tuple[Tensor, Tensor]]],
    *sizes: int,
    **options: object,
) -> list[Tensor]:
    """Run steps; return their losses, and the parameters and buffers."""
    optimizer = make_optimizer(module, recipe(weight_decay=0.01, **options))
    step = make(EagerStep(module, optimizer), optimizer)
    torch.manual_seed(2)
    losses = []
    for number, (inputs, targets) in enumerate(some_batches(*sizes)):
        set_learning_rate(optimizer, 0.1 / (number + 1))
        losses.append(step(inputs, targets)[0])
    return [*losses, *module.state_dict().values()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adamw"},
        {"optimizer": "adam", "optimizer_options": {"amsgrad": True, "betas": [0.8, 0.99]}},
    ],
)
def test_a_recorded_step_is_the_step(options: dict[str, object]) -> None:
    """Steps taken for recording are reverted; batches of another size run eagerly."""
    recorded: list[RecordedStep] = []
    replays = 0

    def record(work: Callable[[], None]) -> Callable[[], None]:
        for _ in range(3):
            work()

        def replay() -> None:
            nonlocal replays
            replays += 1
            work()

        return replay

    module = network()

    def make(eager: EagerStep, optimizer: torch.optim.Optimizer) -> RecordedStep:
        recorded.append(RecordedStep(eager, module, optimizer, record))
        return recorded[0]

    result = carry_out(module, make, 16, 16, 7, 16, **options)
    expected = carry_out(network(), lambda eager, _: eager, 16, 16, 7, 16, **options)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert replays == 3
    assert recorded[0].error == ""


def test_a_step_that_cannot_be_recorded_goes_eagerly() -> None:
    def record(work: Callable[[], None]) -> Callable[[], None]:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    module = network()
    created: list[RecordedStep] = []

    def make(eager: EagerStep, optimizer: torch.optim.Optimizer) -> RecordedStep:
        created.append(RecordedStep(eager, module, optimizer, record))
        return created[0]

    result = carry_out(module, make, 16, 16)
    expected = carry_out(network(), lambda eager, _: eager, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert created[0].error == "operation not permitted when stream is capturing"


class Greedy(nn.Module):
    """Module that allocates too much memory for batches above a size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 3)
        self.most = most

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.most:
            torch.empty(2**60)
        scores: Tensor = self.layer(inputs)
        return scores


@pytest.mark.parametrize(("most", "parts"), [(16, 1), (8, 2), (7, 4), (1, 16)])
def test_a_batch_too_large_for_memory_goes_in_parts(most: int, parts: int) -> None:
    """A real allocation fails; loss, correct predictions and gradient stay the same."""
    torch.manual_seed(0)
    greedy = Greedy(most)
    torch.manual_seed(0)
    plain = Greedy(1000)
    ((inputs, targets),) = some_batches(16)
    steps = [EagerStep(module, make_optimizer(module, recipe())) for module in (greedy, plain)]
    (loss, correct), (whole_loss, whole_correct) = (step(inputs, targets) for step in steps)
    assert steps[0].parts == parts
    assert torch.allclose(loss, whole_loss, atol=1e-6)
    assert correct == whole_correct
    assert torch.allclose(greedy.layer.weight, plain.layer.weight, atol=1e-6)


def test_where_not_even_one_image_fits_the_error_passes() -> None:
    module = Greedy(0)
    ((inputs, targets),) = some_batches(4)
    with pytest.raises(RuntimeError) as caught:
        EagerStep(module, make_optimizer(module, recipe()))(inputs, targets)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize("augment", [{}, {"crop_padding": 3}])
def test_images_that_stay_on_the_device_are_the_same(augment: dict[str, object]) -> None:
    classifier = build()
    mapped, resident = feed(classifier, **augment), feed(classifier, **augment)
    resident.resident = True
    for one, other in zip(mapped.train(2), resident.train(2), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    for split in SPLITS:
        for one, other in zip(mapped.held_out(split), resident.held_out(split), strict=True):
            assert torch.equal(one[0], other[0])


def test_an_epoch_can_be_entered_in_its_middle() -> None:
    classifier = build()
    images = feed(classifier)
    whole, rest = list(images.train(1)), list(images.train(1, 3))
    assert len(whole) == 5
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[3:], rest, strict=True))
