"""From a budget to rungs: how many architectures, pictures and epochs each has, and its time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

from benchmark.errors import SelectError
from benchmark.report.numbers import duration
from benchmark.select.halving import halvings
from clothclf.settings import Settings

PROBE_EPOCHS = 10
"""Of the first rung's heads; each further rung has so many more."""
PROBE_BATCH = 16
PICTURES_A_CLASS = 4
"""Training pictures of a class on average, at least, in a rung."""
LEAST_EPOCHS = 2
"""Of a shortened fine-tuning."""
LEAST_FINALISTS = 2
FINAL_SHARE = 0.6
"""Of the budget that fine-tuning may take, unless nothing cheaper is left."""


class Speed(Settings):
    """What a selection's times are worked out from; fixed when it begins.

    A picture's forward pass is taken as a x GMACs + b x sqrt(GMACs): small networks get less
    out of a machine. The two factors come from a dense and a sparse network that were timed.
    """

    seconds_per_gmac: float
    seconds_per_root_gmac: float
    training: float
    """A picture's share of a training step, as a multiple of its forward pass."""
    head_step_s: float
    """One step of a head on kept features."""
    start_s: float
    """A run's process, from its start to its record, without what is modelled beside it."""
    count_s: float
    measure_s: float
    workers: int
    """Runs at a time."""
    measured: bool = False
    """Whether it was timed on this machine."""

    def forward_s(self, gmacs: float) -> float:
        """Of one picture."""
        return self.seconds_per_gmac * gmacs + self.seconds_per_root_gmac * math.sqrt(gmacs)


class Pictures(Settings):
    """How many pictures there are in each split, and of how many classes."""

    train: int
    valid: int
    test: int
    classes: int


class Rung(Settings):
    """One round: so many architectures, each a run of the same settings."""

    kind: Literal["probe", "final"]
    architectures: int
    """That enter it, unless some have failed before."""
    train: int
    """Pictures at most."""
    valid: int
    test: int
    epochs: int
    seconds: float
    """Expected, for all of its runs."""


class Training(Settings):
    """How finalists are trained when nothing is cut short."""

    epochs: int
    seeds: int
    measure: bool
    """Latency and memory are measured after each."""
    frozen: bool
    """Only a head on kept features is trained."""


def make_schedule(
    gmacs: Sequence[float | None],
    pictures: Pictures,
    training: Training,
    finalists: int,
    budget_s: float,
    speed: Speed,
) -> list[Rung]:
    """The best schedule that fits `budget_s`: as many finalists, epochs and pictures as it has.

    `gmacs` are of the entrants; those that are not known count as the median. Rungs after the
    first are expected to have entrants of mean cost. Raises SelectError, saying what it takes,
    where even the shortest does not fit.
    """
    costs = _known(gmacs)
    shortest: list[Rung] = []
    # Fine-tuning that eats up all of the budget would leave probes that tell nothing.
    for share in (FINAL_SHARE, 1.0):
        for rungs in _candidates(costs, pictures, training, finalists, speed):
            total = expected_s(rungs)
            if not shortest or total < expected_s(shortest):
                shortest = rungs
            if total <= budget_s and rungs[-1].seconds <= share * budget_s:
                return rungs
    raise SelectError(
        f"--budget {duration(budget_s)}: {len(costs)} architectures take at least about "
        f"{duration(expected_s(shortest))} on this machine; raise it, or name fewer "
        "(--max-gmacs, --max-params, narrower patterns)"
    )


def expected_s(rungs: Sequence[Rung]) -> float:
    """Seconds of a whole schedule."""
    return sum(rung.seconds for rung in rungs)


def final_s(gmacs: Sequence[float | None], rung: Rung, training: Training, speed: Speed) -> float:
    """Expected seconds of fine-tuning architectures with the settings of a final rung."""
    return _final_s(
        _known(gmacs), (rung.train, rung.valid, rung.test), rung.epochs, training, speed
    )


def whole_rung(architectures: int, pictures: Pictures, training: Training) -> Rung:
    """A final rung with nothing cut short; its time is not worked out."""
    return Rung(
        kind="final",
        architectures=architectures,
        train=pictures.train,
        valid=pictures.valid,
        test=pictures.test,
        epochs=training.epochs,
        seconds=0.0,
    )


def _known(gmacs: Sequence[float | None]) -> list[float]:
    known = [value for value in gmacs if value is not None]
    middle = statistics.median(known) if known else 1.0
    return [middle if value is None else value for value in gmacs]


def _candidates(
    costs: Sequence[float],
    pictures: Pictures,
    training: Training,
    finalists: int,
    speed: Speed,
) -> Iterator[list[Rung]]:
    """Schedules, the most wanted first."""
    mean = statistics.fmean(costs)
    for sizes, images, epochs in _finals(len(costs), pictures, training, finalists):
        last = sizes[-1]
        seconds = _final_s([mean] * last, images, epochs, training, speed)
        final = Rung(
            kind="final",
            architectures=last,
            train=images[0],
            valid=images[1],
            test=images[2],
            epochs=epochs,
            seconds=seconds,
        )
        if len(sizes) == 1:
            yield [final]
            continue
        for first in _halved(pictures.train, _least(pictures)):
            yield [*_probes(sizes[:-1], first, costs, pictures, speed), final]


def _finals(
    entrants: int, pictures: Pictures, training: Training, finalists: int
) -> Iterator[tuple[list[int], tuple[int, int, int], int]]:
    """Sizes of all rungs, and the last one's pictures and epochs, the most wanted first.

    Training is halved once before there are fewer finalists, and shortened further only when
    there are no fewer to be had.
    """
    images = (pictures.train, pictures.valid, pictures.test)
    lengths = list(_halved(training.epochs, LEAST_EPOCHS))
    chains = [halvings(entrants, finalists)]
    while chains[-1][-1] > LEAST_FINALISTS:
        chains.append(halvings(entrants, chains[-1][-1] - 1))
    for sizes in chains:
        for epochs in lengths[:2]:
            yield sizes, images, epochs
    for epochs in lengths[2:]:
        yield chains[-1], images, epochs
    for most in list(_halved(pictures.train, _least(pictures)))[1:]:
        yield chains[-1], (most, min(pictures.valid, most), pictures.test), lengths[-1]


def _probes(
    sizes: Sequence[int], first: int, costs: Sequence[float], pictures: Pictures, speed: Speed
) -> list[Rung]:
    """Rungs of frozen features: `first` training pictures double from one to the next."""
    rungs: list[Rung] = []
    for number, size in enumerate(sizes):
        train = min(pictures.train, first << number)
        valid = min(pictures.valid, max(train, pictures.classes))
        test = min(pictures.test, max(2, pictures.classes))  # no one asks what it says
        epochs = PROBE_EPOCHS * (number + 1)
        entering = costs if number == 0 else [statistics.fmean(costs)] * size
        steps_s = epochs * math.ceil(train / PROBE_BATCH) * speed.head_step_s
        forward = (train + valid + test) * sum(speed.forward_s(gmacs) for gmacs in entering)
        if rungs and (rungs[-1].train, rungs[-1].valid) == (train, valid):
            forward = 0.0  # the features of the rung before are kept
        seconds = len(entering) * (speed.start_s + steps_s) / speed.workers + forward
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


def _final_s(
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
    around = len(costs) * (speed.start_s + speed.count_s) / speed.workers
    measuring = len(costs) * speed.measure_s if training.measure else 0.0
    return training.seeds * (work + around + measuring)


def _least(pictures: Pictures) -> int:
    return min(pictures.train, PICTURES_A_CLASS * pictures.classes)


def _halved(number: int, least: int) -> Iterator[int]:
    """The number, its half, and so on; the last is `least`, or the number where that is less."""
    smallest = min(number, least)
    while number > smallest:
        yield number
        number = math.ceil(number / 2)
    yield smallest
