"""From a budget to rungs: how many architectures, images and epochs each has, and its time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from benchmark.errors import SelectError
from benchmark.select.halving import halvings
from benchmark.select.last_rungs import (
    PROBE_BATCH,
    final_rung,
    heads_rung,
    known_costs,
    least_epochs,
    longest_final,
)
from benchmark.select.rung import MIN_EPOCHS, ImageCounts, Rung, Speed, Training
from benchmark.text.numbers import duration

PROBE_EPOCHS = 10
"""Of the first rung's heads; each further rung has so many more."""
IMAGES_PER_CLASS = 4
"""Training images of a class on average, at least, in a rung."""
MIN_FINALISTS = 2
FINAL_SHARE = 0.6
"""Of the budget that fine-tuning may take, unless nothing cheaper is left."""


def make_schedule(
    gmacs: Sequence[float | None],
    image_counts: ImageCounts,
    training: Training,
    finalists: int,
    budget_s: float,
    speed: Speed,
    done: int = 0,
) -> list[Rung]:
    """The best schedule that fits `budget_s`: as many finalists, epochs and images as it has.

    `gmacs` are of those that are left after `done` probes; those that are not known count as the
    median. Rungs after the first are expected to have entrants of mean cost. Raises BudgetError,
    saying what it takes, where even the shortest does not fit.
    """
    costs = known_costs(gmacs)
    shortest: list[Rung] = []
    # Fine-tuning that eats up all of the budget would leave probes that tell nothing.
    for share in (FINAL_SHARE, 1.0):
        for rungs in _candidates(costs, image_counts, training, finalists, speed, done):
            total = expected_s(rungs)
            if not shortest or total < expected_s(shortest):
                shortest = rungs
            tuned = rungs[-1].seconds if rungs[-1].kind == "final" else 0.0
            leaves = tuned <= share * budget_s
            if training.heads and share < 1:  # what comes before must leave enough, too
                leaves = tuned > 0 and total - tuned <= share * budget_s
            if total <= budget_s and leaves:
                return _with_keeps(_grown(rungs, costs, image_counts, training, budget_s, speed))
    raise BudgetError(len(costs), budget_s, _with_keeps(shortest))


class BudgetError(SelectError):
    """Not even the shortest schedule fits a budget."""

    def __init__(self, architectures: int, budget_s: float, shortest: list[Rung]) -> None:
        """`shortest` is what takes the least time."""
        self.architectures = architectures
        self.shortest = shortest
        super().__init__(too_small(budget_s, architectures, expected_s(shortest)))


def too_small(budget_s: float, architectures: int, least_s: float) -> str:
    """Say that a budget is, and what would do."""
    return (
        f"--budget {duration(budget_s)}: {architectures} architectures take at least about "
        f"{duration(least_s)} on this machine; raise it, or name fewer "
        "(--max-gmacs, --max-params, narrower patterns)"
    )


def expected_s(rungs: Sequence[Rung]) -> float:
    """Seconds of a whole schedule."""
    return sum(rung.seconds for rung in rungs)


def _candidates(
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    finalists: int,
    speed: Speed,
    done: int,
) -> Iterator[list[Rung]]:
    """Schedules, the most wanted first."""
    if training.heads:
        yield from _candidates_with_heads(costs, image_counts, training, finalists, speed, done)
        return
    mean = statistics.fmean(costs)
    for sizes, images, epochs in _finals(len(costs), image_counts, training, finalists):
        train, valid, test = images
        subsampled = ImageCounts(train=train, valid=valid, test=test, classes=image_counts.classes)
        final = final_rung([mean] * sizes[-1], epochs, subsampled, training, speed)
        for probes in _all_probes(sizes[:-1], costs, image_counts, speed, done):
            yield [*probes, final]


def _candidates_with_heads(
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    finalists: int,
    speed: Speed,
    done: int,
) -> Iterator[list[Rung]]:
    """Schedules, the most wanted first; the epochs of the last rung are the fewest."""
    mean = statistics.fmean(costs)
    chains = _chains(len(costs), finalists)
    tuned = [(sizes, count) for sizes in chains for count in range(sizes[-1], 0, -1)]
    for sizes, count in tuned:
        heads = heads_rung(mean, sizes[-1], image_counts.train, image_counts, speed)
        least = least_epochs(count, training)
        final = final_rung([mean] * count, least, image_counts, training, speed)
        for probes in _all_probes(sizes[:-1], costs, image_counts, speed, done):
            yield [*probes, heads, final]
    for sizes in chains:
        for train in _halved(image_counts.train, _least(image_counts)):
            heads = heads_rung(mean, sizes[-1], train, image_counts, speed)
            for probes in _all_probes(sizes[:-1], costs, image_counts, speed, done):
                yield [*probes, heads]


def _all_probes(
    sizes: Sequence[int], costs: Sequence[float], image_counts: ImageCounts, speed: Speed, done: int
) -> Iterator[list[Rung]]:
    """Probes for the rungs before the finalists', with ever fewer images; one without any."""
    if not sizes:
        yield []
        return
    for first in _halved(image_counts.train, _least(image_counts)):
        yield _probes(sizes, first, costs, image_counts, speed, done)


def _grown(
    rungs: list[Rung],
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    budget_s: float,
    speed: Speed,
) -> list[Rung]:
    """With the epochs that the last rung has time for."""
    last = rungs[-1]
    if not training.heads or last.kind != "final":
        return rungs
    mean = [statistics.fmean(costs)] * last.architectures
    available_s = budget_s - expected_s(rungs[:-1])
    return [*rungs[:-1], longest_final(mean, image_counts, training, available_s, speed) or last]


def _with_keeps(rungs: list[Rung]) -> list[Rung]:
    """Each says how many go on: all of the next one's."""
    after = [rung.architectures for rung in rungs[1:]]
    keeps = [
        count if rung.kind == "probe" else None
        for rung, count in zip(rungs, [*after, None], strict=True)
    ]
    return [rung.model_copy(update={"keep": keep}) for rung, keep in zip(rungs, keeps, strict=True)]


def _chains(candidates: int, finalists: int) -> list[list[int]]:
    """Sizes of all rungs, with ever fewer finalists."""
    chains = [halvings(candidates, finalists)]
    while chains[-1][-1] > MIN_FINALISTS:
        chains.append(halvings(candidates, chains[-1][-1] - 1))
    return chains


def _finals(
    candidates: int, image_counts: ImageCounts, training: Training, finalists: int
) -> Iterator[tuple[list[int], tuple[int, int, int], int]]:
    """Sizes of all rungs, and the last one's images and epochs, the most wanted first.

    Training is halved once before there are fewer finalists, and shortened further only when
    there are no fewer to be had.
    """
    images = (image_counts.train, image_counts.valid, image_counts.test)
    lengths = list(_halved(training.epochs, MIN_EPOCHS))
    chains = _chains(candidates, finalists)
    for sizes in chains:
        for epochs in lengths[:2]:
            yield sizes, images, epochs
    for epochs in lengths[2:]:
        yield chains[-1], images, epochs
    for most in list(_halved(image_counts.train, _least(image_counts)))[1:]:
        yield chains[-1], (most, min(image_counts.valid, most), image_counts.test), lengths[-1]


def _probes(
    sizes: Sequence[int],
    first: int,
    costs: Sequence[float],
    image_counts: ImageCounts,
    speed: Speed,
    done: int = 0,
) -> list[Rung]:
    """Rungs of frozen features: `first` training images double from one to the next."""
    rungs: list[Rung] = []
    for place, size in enumerate(sizes):
        number = done + place
        train = min(image_counts.train, first << place)
        valid = min(image_counts.valid, max(train, image_counts.classes))
        test = min(
            image_counts.test, max(2, image_counts.classes)
        )  # the fewest there may be; unseen
        epochs = PROBE_EPOCHS * (number + 1)
        remaining = costs if place == 0 else [statistics.fmean(costs)] * size
        steps_s = epochs * math.ceil(train / PROBE_BATCH) * speed.head_step_s
        forward = (train + valid) * sum(speed.forward_s(gmacs) for gmacs in remaining)
        if rungs and (rungs[-1].train, rungs[-1].valid) == (train, valid):
            forward = 0.0  # the features of the rung before are kept
        seconds = len(remaining) * (speed.start_s + steps_s) / speed.workers + forward
        rungs.append(
            Rung(
                kind="probe",
                architectures=size,
                train=train,
                valid=valid,
                test=test,
                epochs=epochs,
                seconds=seconds,
            )
        )
    return rungs


def _least(image_counts: ImageCounts) -> int:
    return min(image_counts.train, IMAGES_PER_CLASS * image_counts.classes)


def _halved(number: int, least: int) -> Iterator[int]:
    """The number, its half, and so on; the last is `least`, or the number where that is less."""
    smallest = min(number, least)
    while number > smallest:
        yield number
        number = math.ceil(number / 2)
    yield smallest
