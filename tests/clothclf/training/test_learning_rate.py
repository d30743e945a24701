"""Learning rate schedules equal torch's and timm's schedulers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.scheduler import CosineLRScheduler, StepLRScheduler
from torch import nn

from clothclf.settings import TrainSettings
from clothclf.training.schedule import learning_rate

STEPS = 7
"""Of an epoch; there are ten."""


def rates(**options: Any) -> list[float]:
    settings = TrainSettings.model_validate({"learning_rate": 0.1, **options})
    return [learning_rate(settings, step, STEPS) for step in range(10 * STEPS)]


def an_optimizer(rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=rate)


def by_torch(make: Any) -> list[float]:
    optimizer = an_optimizer()
    scheduler, result = make(optimizer), []
    for _ in range(10 * STEPS):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


def by_timm(scheduler: Any) -> list[float]:
    result = []
    for step in range(10 * STEPS):
        scheduler.step_update(step)
        result.append(scheduler.optimizer.param_groups[0]["lr"])
    return result


@pytest.mark.parametrize("warmup_epochs", [None, 2, 3.5])
def test_one_cycle_is_torchs(warmup_epochs: float | None) -> None:
    share = 0.3 if warmup_epochs is None else warmup_epochs / 10
    expected = by_torch(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.1, total_steps=10 * STEPS, pct_start=share, cycle_momentum=False
        )
    )
    final = 0.1 / 25 / 1e4
    got = rates(schedule="onecycle", warmup_epochs=warmup_epochs, final_learning_rate=final)
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("warmup", "final"), [(0, 0.0), (2, 0.0), (1.0, 0.01)])
def test_cosine_is_timms_after_its_warm_up(warmup: float, final: float) -> None:
    steps = round(warmup * STEPS)
    expected = by_timm(
        CosineLRScheduler(
            an_optimizer(),
            t_initial=10 * STEPS - steps,
            lr_min=final,
            warmup_t=steps,
            warmup_lr_init=0.1 / (steps + 1),
            warmup_prefix=True,
            t_in_epochs=False,
        )
    )
    got = rates(schedule="cosine", warmup_epochs=warmup, final_learning_rate=final)
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 2])
def test_steps_are_timms_after_its_warm_up(warmup: int) -> None:
    steps = warmup * STEPS
    expected = by_timm(
        StepLRScheduler(
            an_optimizer(),
            decay_t=3 * STEPS,
            decay_rate=0.2,
            warmup_t=steps,
            warmup_lr_init=0.1 / (steps + 1),
            t_in_epochs=False,
        )
    )
    got = rates(schedule="step", step_epochs=3, step_factor=0.2, warmup_epochs=warmup)
    assert got == pytest.approx(expected, rel=1e-9)


def test_linear_is_torchs() -> None:
    expected = by_torch(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=1.0, end_factor=0.1, total_iters=10 * STEPS
        )
    )
    assert rates(schedule="linear", final_learning_rate=0.01) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle", "linear"])
def test_no_step_stands_still_and_none_goes_beyond_the_rate(schedule: str) -> None:
    for epochs, steps in ((1, 1), (1, 2), (2, 1), (3, 5)):
        settings = TrainSettings.model_validate(
            {"schedule": schedule, "epochs": epochs, "warmup_epochs": 0.5, "learning_rate": 0.1}
        )
        got = [learning_rate(settings, step, steps) for step in range(epochs * steps)]
        assert all(0 <= rate <= 0.1 for rate in got)
        assert got[0] > 0
