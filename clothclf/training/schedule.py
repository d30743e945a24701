"""The learning rate of every step, from the recipe and the step's number alone."""

from __future__ import annotations

import math

from clothclf.settings import TrainSettings

ONE_CYCLE_RISES = 0.3
"""Share of all epochs over which `onecycle` rises where the recipe does not say."""
ONE_CYCLE_BEGINS = 1 / 25
"""Share of the highest rate at which `onecycle` begins; both are torch's defaults."""


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """The rate of a step, counted from 0 over all epochs.

    A function of the number alone, rather than a scheduler with a state: a run can go on from any
    step. Equal to torch's OneCycleLR, and to timm's other schedules with a warm-up before them.
    """
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "onecycle":
        return _one_cycle(settings, step, total, steps_per_epoch)
    rate, final = settings.learning_rate, settings.final_learning_rate
    warmup = round((settings.warmup_epochs or 0) * steps_per_epoch)
    if step < warmup:
        # Never zero, which would waste the first step, and never the rate itself.
        return rate * (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return rate
    if settings.step_epochs is not None:  # of `schedule: step` alone
        falls = (step - warmup) // (settings.step_epochs * steps_per_epoch)
        return rate * float(settings.step_factor**falls)
    done = (step - warmup) / (total - warmup)
    if settings.schedule == "linear":
        return rate + (final - rate) * done
    return final + (rate - final) * 0.5 * (1 + math.cos(math.pi * done))


def _one_cycle(settings: TrainSettings, step: int, total: int, steps_per_epoch: int) -> float:
    if settings.warmup_epochs is None:
        rises = ONE_CYCLE_RISES * total
    else:
        rises = settings.warmup_epochs * steps_per_epoch
    rate, top, last = settings.learning_rate, rises - 1, total - 1
    if step < top:
        return _half_cosine(ONE_CYCLE_BEGINS * rate, rate, step / top)
    top = max(top, 0)
    if top >= last:
        return rate
    return _half_cosine(rate, settings.final_learning_rate, (step - top) / (last - top))


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
