"""Schedule rungs within a budget: architectures, images, epochs and time of each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from benchmark.errors import SelectError
from benchmark.select.finalist_rungs import (
    PROBE_BATCH,
    final_rung,
    full_final,
    heads_rung,
    known_costs,
    least_epochs,
)
from benchmark.select.promotion import halvings
from benchmark.select.rung import MIN_EPOCHS, ImageCounts, Rung, Speed, Training
from benchmark.text.numbers import duration

PROBE_EPOCHS = 10
"""Epochs of heads in the first rung; each further rung adds as many."""
IMAGES_PER_CLASS = 4
"""Minimum training images per class in a rung, on average."""
MIN_FINALISTS = 2
FINAL_SHARE = 0.6
"""Maximum share of the budget for fine-tuning, unless nothing cheaper is possible."""


def make_schedule(
    gmacs: Sequence[float | None],
    image_counts: ImageCounts,
    training: Training,
    finalists: int,
    budget_s: float,
    speed: Speed,
    done: int = 0,
) -> list[Rung]:
    """Find the best schedule within `budget_s`: as many finalists, epochs and images as fit.

    `gmacs` are of the candidates left after `done` probes; unknown ones count as the median.
    Rungs after the first are expected to have candidates of mean cost. Raises BudgetError with
    the time needed if even the shortest schedule does not fit.
    """
    costs = known_costs(gmacs)
    shortest: list[Rung] = []
    # Fine-tuning must not use up the budget, or the probes become meaningless.
    for share in (FINAL_SHARE, 1.0):
        for rungs in _candidates(costs, image_counts, training, finalists, speed, done):
            total = expected_s(rungs)
            if not shortest or total < expected_s(shortest):
                shortest = rungs
            tuned = rungs[-1].seconds if rungs[-1].kind == "final" else 0.0
            leaves = tuned <= share * budget_s
            if training.heads and share < 1:  # the earlier rungs must leave enough time, too
                leaves = tuned > 0 and total - tuned <= share * budget_s
            if total <= budget_s and leaves:
                return _with_keeps(_grown(rungs, costs, image_counts, training, budget_s, speed))
    raise BudgetError(len(costs), budget_s, _with_keeps(shortest))


class BudgetError(SelectError):
    """Even the shortest schedule exceeds the budget."""

    def __init__(self, architectures: int, budget_s: float, shortest: list[Rung]) -> None:
        """`shortest` is the schedule with the shortest time."""
        self.architectures = architectures
        self.shortest = shortest
        super().__init__(too_small(budget_s, architectures, expected_s(shortest)))


def too_small(budget_s: float, architectures: int, needed_s: float) -> str:
    """Message for a budget that is too small, with the budget needed."""
    return (
        f"--budget {duration(budget_s)}: {architectures} architectures take at least about "
        f"{duration(needed_s)} on this machine; raise the budget, or select fewer architectures "
        "(--max-gmacs, --max-params, narrower patterns)"
    )


def expected_s(rungs: Sequence[Rung]) -> float:
    """Expected seconds of a schedule."""
    return sum(rung.seconds for rung in rungs)


def _candidates(
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    finalists: int,
    speed: Speed,
    done: int,
) -> Iterator[list[Rung]]:
    """Yield schedules in order of preference."""
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
    """Yield schedules in order of preference, with the minimum epochs in the last rung."""
    mean = statistics.fmean(costs)
    chains = _chains(len(costs), finalists)
    tuned = [(sizes, count) for sizes in chains for count in range(sizes[-1], 0, -1)]
    for sizes, count in tuned:
        heads = heads_rung(mean, sizes[-1], image_counts.train, image_counts, speed)
        minimum = least_epochs(count, training)
        final = final_rung([mean] * count, minimum, image_counts, training, speed)
        for probes in _all_probes(sizes[:-1], costs, image_counts, speed, done):
            yield [*probes, heads, final]
    for sizes in chains:
        for train in _halved(image_counts.train, _halvings(image_counts)):
            heads = heads_rung(mean, sizes[-1], train, image_counts, speed)
            for probes in _all_probes(sizes[:-1], costs, image_counts, speed, done):
                yield [*probes, heads]


def _all_probes(
    sizes: Sequence[int], costs: Sequence[float], image_counts: ImageCounts, speed: Speed, done: int
) -> Iterator[list[Rung]]:
    """Yield probe rungs before the finalists', with ever fewer images; one empty list if none."""
    if not sizes:
        yield []
        return
    for first in _halved(image_counts.train, _halvings(image_counts)):
        yield _probes(sizes, first, costs, image_counts, speed, done)


def _grown(
    rungs: list[Rung],
    costs: Sequence[float],
    image_counts: ImageCounts,
    training: Training,
    budget_s: float,
    speed: Speed,
) -> list[Rung]:
    """Extend the last rung to as many epochs as fit."""
    last = rungs[-1]
    if not training.heads or last.kind != "final":
        return rungs
    mean = [statistics.fmean(costs)] * last.architectures
    available_s = budget_s - expected_s(rungs[:-1])
    return [*rungs[:-1], full_final(mean, image_counts, training, available_s, speed) or last]


def _with_keeps(rungs: list[Rung]) -> list[Rung]:
    """Set the number of architectures that each rung promotes to the next."""
    after = [rung.architectures for rung in rungs[1:]]
    keeps = [
        count if rung.kind == "probe" else None
        for rung, count in zip(rungs, [*after, None], strict=True)
    ]
    return [rung.model_copy(update={"keep": keep}) for rung, keep in zip(rungs, keeps, strict=True)]


def _chains(candidates: int, finalists: int) -> list[list[int]]:
    """Sizes of all rungs, for ever fewer finalists."""
    chains = [halvings(candidates, finalists)]
    while chains[-1][-1] > MIN_FINALISTS:
        chains.append(halvings(candidates, chains[-1][-1] - 1))
    return chains


def _finals(
    candidates: int, image_counts: ImageCounts, training: Training, finalists: int
) -> Iterator[tuple[list[int], tuple[int, int, int], int]]:
    """Yield sizes of all rungs with images and epochs of the last, in order of preference.

    Training is halved once before the number of finalists is reduced, and shortened further only
    at the minimum number of finalists.
    """
    images = (image_counts.train, image_counts.valid, image_counts.test)
    lengths = list(_halved(training.epochs, MIN_EPOCHS))
    chains = _chains(candidates, finalists)
    for sizes in chains:
        for epochs in lengths[:2]:
            yield sizes, images, epochs
    for epochs in lengths[2:]:
        yield chains[-1], images, epochs
    for max_train in list(_halved(image_counts.train, _halvings(image_counts)))[1:]:
        yield (
            chains[-1],
            (max_train, min(image_counts.valid, max_train), image_counts.test),
            lengths[-1],
        )


def _probes(
    sizes: Sequence[int],
    first: int,
    costs: Sequence[float],
    image_counts: ImageCounts,
    speed: Speed,
    done: int = 0,
) -> list[Rung]:
    """Rungs on frozen features; the training images start at `first` and double each rung."""
    rungs: list[Rung] = []
    for index, size in enumerate(sizes):
        number = done + index
        train = min(image_counts.train, first << index)
        valid = min(image_counts.valid, max(train, image_counts.classes))
        test = min(
            image_counts.test, max(2, image_counts.classes)
        )  # the minimum, since it is not evaluated
        epochs = PROBE_EPOCHS * (number + 1)
        remaining = costs if index == 0 else [statistics.fmean(costs)] * size
        steps_s = epochs * math.ceil(train / PROBE_BATCH) * speed.head_step_s
        forward = (train + valid) * sum(speed.forward_s(gmacs) for gmacs in remaining)
        if rungs and (rungs[-1].train, rungs[-1].valid) == (train, valid):
            forward = 0.0  # features of the previous rung are cached
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


def _halvings(image_counts: ImageCounts) -> int:
    return min(image_counts.train, IMAGES_PER_CLASS * image_counts.classes)


def _halved(number: int, minimum: int) -> Iterator[int]:
    """Yield the number, its half, and so on, down to `least` or the number if smaller."""
    smallest = min(number, minimum)
    while number > smallest:
        yield number
        number = math.ceil(number / 2)
    yield smallest
