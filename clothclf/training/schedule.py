"""Learning rate schedules, as stateless functions of the step."""

from __future__ import annotations

import math

from clothclf.settings import TrainSettings

ONE_CYCLE_RISES = 0.3
"""Default fraction of all epochs in which `onecycle` rises; torch's default."""
ONE_CYCLE_BEGINS = 1 / 25
"""Initial rate of `onecycle` as a fraction of the peak; torch's default."""


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0 over all epochs.

    A pure function rather than a stateful scheduler, so that a run can resume from any step. Equals
    torch's OneCycleLR, and timm's other schedules preceded by warm-up.
    """
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "onecycle":
        return _one_cycle(settings, step, total, steps_per_epoch)
    rate, final = settings.learning_rate, settings.final_learning_rate
    warmup = round((settings.warmup_epochs or 0) * steps_per_epoch)
    if step < warmup:
        # Excludes zero, which would waste the first step, and the full rate.
        return rate * (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return rate
    if settings.step_epochs is not None:  # only for `schedule: step`
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
