"""Rung of a selection, and the inputs of its time estimate."""

from __future__ import annotations

import math
from typing import Literal

from clothclf.settings import Settings, TuningSettings

MIN_EPOCHS = 2
"""Minimum epochs of a shortened training."""

RungKind = Literal["probe", "heads", "final", "seeds"]
"""`probe`: heads on some of the images; `heads`: heads of finalists on all images; `final`:
finalists fine-tuned, or trained as in the study; `seeds`: the same with further seeds."""


class Speed(Settings):
    """Speed of the machine, for time estimates; fixed when a selection starts.

    The forward pass of one image is modelled as a x GMACs + b x sqrt(GMACs), because small
    networks use the machine less efficiently. Both factors are fitted to the timing of a dense
    and a sparse network.
    """

    seconds_per_gmac: float
    seconds_per_root_gmac: float
    training: float
    """Training time of one image, as a multiple of its forward pass."""
    head_step_s: float
    """Seconds of one training step of a head on cached features."""
    start_s: float
    """Seconds of a run's process beyond the work that is modelled separately."""
    count_s: float
    measure_s: float
    workers: int
    """Number of concurrent runs."""
    measured: bool = False
    """Whether the speed was measured on this machine."""

    def forward_s(self, gmacs: float) -> float:
        """Seconds of the forward pass of one image."""
        return self.seconds_per_gmac * gmacs + self.seconds_per_root_gmac * math.sqrt(gmacs)


class ImageCounts(Settings):
    """Number of images in each split, and number of classes."""

    train: int
    valid: int
    test: int
    classes: int


class Rung(Settings):
    """One round of a selection, which runs several architectures with the same settings."""

    kind: RungKind
    architectures: int
    """Maximum number of architectures; fewer if some failed earlier."""
    train: int
    """Maximum number of training images."""
    valid: int
    test: int
    epochs: int
    seconds: float
    """Expected seconds of all runs."""
    keep: int | None = None
    """Number of architectures to promote; None for all."""
    seeds: int = 1
    measure: bool = False
    available_s: float | None = None
    """Time limit from the remaining budget when the rung was planned; unfinished runs stop then."""
    stopped: tuple[str, ...] = ()
    """Candidates that were stopped by the time limit."""


class Training(Settings):
    """Full training of finalists."""

    epochs: int
    seeds: int
    measure: bool
    """Whether latency and memory are measured after each run."""
    frozen: bool
    """Whether only a head on cached features is trained."""
    heads: bool = False
    """Whether heads of all finalists are trained first, which may decide the winner; training
    shorter than `least_epochs` is then skipped."""
    least_epochs: int = MIN_EPOCHS
    most_epochs: int | None = None
    """Maximum epochs if time permits; None for `epochs`."""
    tuning: TuningSettings | None = None
    """Tuning of each run, which takes time before its training."""

    def with_trials(self, epochs: int) -> int:
        """Return the epochs of a training and its trials."""
        return epochs + (self.tuning.total_epochs(epochs, self.frozen) if self.tuning else 0)
