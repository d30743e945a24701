"""Plan the rungs of finalists: heads on all images, fine-tuning, further seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmark.select.rung import ImageCounts, Rung, Speed, Training

PROBE_BATCH = 16
HEADS_EPOCHS = 20
"""Epochs of the finalists' heads on cached features."""
MEASURING_SHARE = 0.25
"""Maximum share of the fine-tuning time for measuring latency and memory."""
MAX_SEEDS = 5


def plan_final(
    gmacs: Sequence[float | None],
    image_counts: ImageCounts,
    training: Training,
    available_s: float,
    speed: Speed,
) -> Rung | None:
    """Plan as many finalists, then epochs, as fit; None if not even one gets `least_epochs`.

    `gmacs` are of the candidates with trained heads, best first.
    """
    costs = known_costs(gmacs)
    for count in range(len(costs), 0, -1):
        for measure in (True, False) if training.measure else (False,):
            if measure and count * speed.measure_s > MEASURING_SHARE * available_s:
                continue
            rung = full_final(
                costs[:count],
                image_counts,
                training.model_copy(update={"measure": measure}),
                available_s,
                speed,
            )
            if rung is not None:
                return rung
    return None


def plan_seeds(final: Rung, took_s: float, available_s: float) -> Rung | None:
    """Plan as many further seeds of a rung that took `took_s` as fit, up to MAX_SEEDS."""
    each_s = max(took_s, final.seconds / 2) / final.seeds  # some runs may have existed already
    more = min(MAX_SEEDS - final.seeds, int(available_s / each_s))
    if more < 1:
        return None
    changes = {"kind": "seeds", "seeds": final.seeds + more, "seconds": more * each_s}
    return final.model_copy(update={**changes, "stopped": ()})


def final_s(gmacs: Sequence[float | None], rung: Rung, training: Training, speed: Speed) -> float:
    """Expected seconds of training architectures with the settings of a final rung."""
    return _seconds_of_final(
        known_costs(gmacs), (rung.train, rung.valid, rung.test), rung.epochs, training, speed
    )


def full_rung(architectures: int, image_counts: ImageCounts, training: Training) -> Rung:
    """Final rung with full training, without a time estimate."""
    return Rung(
        kind="final",
        architectures=architectures,
        train=image_counts.train,
        valid=image_counts.valid,
        test=image_counts.test,
        epochs=training.epochs,
        seconds=0.0,
        seeds=training.seeds,
        measure=training.measure,
    )


def full_final(
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    available_s: float,
    speed: Speed,
) -> Rung | None:
    """Final rung with as many epochs as fit; None if even the minimum does not."""
    max_epochs = training.most_epochs or training.epochs
    for epochs in range(max_epochs, least_epochs(len(costs), training) - 1, -1):
        rung = final_rung(costs, epochs, image_counts, training, speed)
        if rung.seconds <= available_s:
            return rung
    return None


def least_epochs(finalists: int, training: Training) -> int:
    """Minimum epochs: several finalists need full training, one may be shortened."""
    return training.least_epochs if finalists == 1 else max(training.least_epochs, training.epochs)


def final_rung(
    costs: Sequence[float], epochs: int, image_counts: ImageCounts, training: Training, speed: Speed
) -> Rung:
    """Final rung of networks with the given costs in GMACs, and its expected time."""
    images = (image_counts.train, image_counts.valid, image_counts.test)
    seconds = _seconds_of_final(costs, images, epochs, training, speed)
    rung = full_rung(len(costs), image_counts, training)
    return rung.model_copy(update={"epochs": epochs, "seconds": seconds})


def heads_rung(
    mean: float, count: int, train: int, image_counts: ImageCounts, speed: Speed
) -> Rung:
    """Rung of finalists' heads on `train` training images."""
    forward = (train + image_counts.valid + image_counts.test) * count * speed.forward_s(mean)
    steps_s = HEADS_EPOCHS * math.ceil(train / PROBE_BATCH) * speed.head_step_s
    around = count * (speed.start_s + speed.count_s + steps_s) / min(count, speed.workers)
    return Rung(
        kind="heads",
        architectures=count,
        train=train,
        valid=image_counts.valid,
        test=image_counts.test,
        epochs=HEADS_EPOCHS,
        seconds=around + forward * _idle_share(count, speed.workers),
    )


def _idle_share(runs: int, workers: int) -> float:
    """Slowdown factor, at least 1, from workers that idle at the end."""
    return math.ceil(runs / workers) * workers / runs if runs > workers else 1.0


def _seconds_of_final(
    costs: Sequence[float],
    images: tuple[int, int, int],
    epochs: int,
    training: Training,
    speed: Speed,
) -> float:
    train, valid, test = images
    forward = sum(speed.forward_s(gmacs) for gmacs in costs)
    epochs = training.with_trials(epochs)
    if training.frozen:
        steps_s = len(costs) * epochs * train / PROBE_BATCH * speed.head_step_s
        work = (2 * train + valid + test) * forward + steps_s
    else:
        work = (epochs * (speed.training * train + valid) + test) * forward
    # Whole networks may be trained one at a time.
    at_a_time = speed.workers if training.frozen else 1
    around = len(costs) * (speed.start_s + speed.count_s) / at_a_time
    measuring = len(costs) * speed.measure_s if training.measure else 0.0
    return training.seeds * (work + around + measuring)


def known_costs(gmacs: Sequence[float | None]) -> list[float]:
    """Replace unknown costs by the median."""
    known = [value for value in gmacs if value is not None]
    middle = statistics.median(known) if known else 1.0
    return [middle if value is None else value for value in gmacs]
