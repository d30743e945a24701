"""What the finalists' rungs have time for: heads on all images, whole networks, further seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmark.select.rung import ImageCounts, Rung, Speed, Training

PROBE_BATCH = 16
HEADS_EPOCHS = 20
"""Of the heads of finalists, on features that are computed once."""
MEASURING_SHARE = 0.25
"""Of the time for fine-tuning that measuring latency and memory may take."""
MAX_SEEDS = 5


def plan_final(
    gmacs: Sequence[float | None],
    image_counts: ImageCounts,
    training: Training,
    available_s: float,
    speed: Speed,
) -> Rung | None:
    """As many finalists and then epochs as fit; None where not even one has its `least_epochs`.

    `gmacs` are of those whose heads were trained, the best first.
    """
    costs = known_costs(gmacs)
    for count in range(len(costs), 0, -1):
        for measure in (True, False) if training.measure else (False,):
            if measure and count * speed.measure_s > MEASURING_SHARE * available_s:
                continue
            rung = longest_final(
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
    """As many further seeds of what was trained in `took_s` as fit, up to MAX_SEEDS in all."""
    each_s = max(took_s, final.seconds / 2) / final.seeds  # it may have been there already
    more = min(MAX_SEEDS - final.seeds, int(available_s / each_s))
    if more < 1:
        return None
    changes = {"kind": "seeds", "seeds": final.seeds + more, "seconds": more * each_s}
    return final.model_copy(update={**changes, "stopped": ()})


def final_s(gmacs: Sequence[float | None], rung: Rung, training: Training, speed: Speed) -> float:
    """Expected seconds of fine-tuning architectures with the settings of a final rung."""
    return _seconds_of_final(
        known_costs(gmacs), (rung.train, rung.valid, rung.test), rung.epochs, training, speed
    )


def whole_rung(architectures: int, image_counts: ImageCounts, training: Training) -> Rung:
    """A final rung with nothing cut short; its time is not worked out."""
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


def longest_final(
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    available_s: float,
    speed: Speed,
) -> Rung | None:
    """The last rung with as many epochs as fit; None where even the fewest do not."""
    most = training.most_epochs or training.epochs
    for epochs in range(most, least_epochs(len(costs), training) - 1, -1):
        rung = final_rung(costs, epochs, image_counts, training, speed)
        if rung.seconds <= available_s:
            return rung
    return None


def least_epochs(finalists: int, training: Training) -> int:
    """That several networks are worth: a second one costs what would make the first one better."""
    return training.least_epochs if finalists == 1 else max(training.least_epochs, training.epochs)


def final_rung(
    costs: Sequence[float], epochs: int, image_counts: ImageCounts, training: Training, speed: Speed
) -> Rung:
    """A final rung of networks of such costs in GMACs, and its expected time."""
    images = (image_counts.train, image_counts.valid, image_counts.test)
    seconds = _seconds_of_final(costs, images, epochs, training, speed)
    rung = whole_rung(len(costs), image_counts, training)
    return rung.model_copy(update={"epochs": epochs, "seconds": seconds})


def heads_rung(
    mean: float, count: int, train: int, image_counts: ImageCounts, speed: Speed
) -> Rung:
    """Heads of finalists on all images, or on `train` of them for want of time."""
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
    """How much longer runs take where not all workers have one at the end, at least 1."""
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
    if training.frozen:
        steps_s = len(costs) * epochs * train / PROBE_BATCH * speed.head_step_s
        work = (2 * train + valid + test) * forward + steps_s
    else:
        work = (epochs * (speed.training * train + valid) + test) * forward
    # Whole networks may have to be trained one at a time.
    at_a_time = speed.workers if training.frozen else 1
    around = len(costs) * (speed.start_s + speed.count_s) / at_a_time
    measuring = len(costs) * speed.measure_s if training.measure else 0.0
    return training.seeds * (work + around + measuring)


def known_costs(gmacs: Sequence[float | None]) -> list[float]:
    """The same, with the median in place of those that are not known."""
    known = [value for value in gmacs if value is not None]
    middle = statistics.median(known) if known else 1.0
    return [middle if value is None else value for value in gmacs]
