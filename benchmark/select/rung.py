"""One round of a selection, and what its time is worked out from."""

from __future__ import annotations

import math
from typing import Literal

from clothclf.settings import Settings

MIN_EPOCHS = 2
"""Of a shortened training."""

RungKind = Literal["probe", "heads", "final", "seeds"]
"""`probe`: heads on some of the images; `heads`: those of finalists, on all of them; `final`:
finalists trained as a whole, or as the study says; `seeds`: the same, with further seeds."""


class Speed(Settings):
    """What a selection's times are worked out from; fixed when it begins.

    An image's forward pass is taken as a x GMACs + b x sqrt(GMACs): small networks get less
    out of a machine. The two factors come from a dense and a sparse network that were timed.
    """

    seconds_per_gmac: float
    seconds_per_root_gmac: float
    training: float
    """An image's share of a training step, as a multiple of its forward pass."""
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
        """Of one image."""
        return self.seconds_per_gmac * gmacs + self.seconds_per_root_gmac * math.sqrt(gmacs)


class ImageCounts(Settings):
    """How many images there are in each split, and of how many classes."""

    train: int
    valid: int
    test: int
    classes: int


class Rung(Settings):
    """One round: so many architectures, each a run of the same settings."""

    kind: RungKind
    architectures: int
    """That enter it, unless some have failed before."""
    train: int
    """Images at most."""
    valid: int
    test: int
    epochs: int
    seconds: float
    """Expected, for all of its runs."""
    keep: int | None = None
    """How many go on to the next rung; None for all."""
    seeds: int = 1
    measure: bool = False
    available_s: float | None = None
    """Time left in the budget when it was decided; what is unfinished then is stopped."""
    stopped: tuple[str, ...] = ()
    """Entrants whose time was up before they were finished."""


class Training(Settings):
    """How finalists are trained when nothing is cut short."""

    epochs: int
    seeds: int
    measure: bool
    """Latency and memory are measured after each."""
    frozen: bool
    """Only a head on kept features is trained."""
    heads: bool = False
    """Heads of all finalists come before, and may be the answer; what would cut a training shorter
    than `least_epochs` is then left out."""
    least_epochs: int = MIN_EPOCHS
    most_epochs: int | None = None
    """With time to spare; None is `epochs`."""
