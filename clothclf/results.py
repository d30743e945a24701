"""What is measured, with units in the names; it imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class DataSummary:
    """What a record and a report say of the data."""

    title: str
    synthetic: bool
    fingerprint: str
    """Hash over id, pixels, label and split of every image."""
    classes: tuple[str, ...]
    """Sorted; a label's number is its place here."""
    images: dict[str, int]
    """Images in each split."""
    images_per_class: dict[str, int]
    rows_read: int
    dropped: dict[str, int]
    """Rows and images left out, by reason."""
    repaired: dict[str, int]
    twin_groups: int
    """Groups of images with the same pixels."""
    twin_images: int
    label_conflicts: int
    """Twin groups that carry more than one label."""
    twins_across_splits: int
    """Twin groups with images in more than one split: leakage."""
    split_note: str = ""
    """Which splits the source gave, in words; empty where all were drawn."""


@dataclass(frozen=True)
class Weights:
    """The start of a model's backbone."""

    origin: Literal["random", "pretrained", "file"]
    """`pretrained` comes from the model hub, `file` from a file that the user named."""
    name: str
    """For reports: `random`, a hub repository, or a file's name."""
    sha256: str
    """Of the file; empty for random weights, which follow from the seed."""
    path: Path | None
    note: str = ""
    """Why the weights are not what `auto` would have liked."""


@dataclass(frozen=True)
class CounterResult:
    """One counter's figure for one forward pass of one image, in its own convention."""

    macs: int | None
    """Multiply-adds as this counter counts them; None where it failed."""
    by_operator: dict[str, int]
    """The same by operator (`convolution`, `linear` …) or, for flopth, by layer class."""
    by_module: dict[str, int]
    """The same by the module's dotted name, leaves or as the counter attributes them."""
    not_counted: dict[str, int]
    """Operators or layers that it passed over, with how often."""
    convention: str
    """In words: what it counts, and as how much."""
    fault: str = ""
    """Why there is no figure."""


Verdict = Literal["agreed", "explained", "disputed", "unchecked"]


@dataclass(frozen=True)
class ReceptiveField:
    """How much of the input one place of the last feature map sees, along one axis."""

    pixels: int | None
    """Theoretical receptive field in pixels, without the parts that see everything."""
    stride: int | None
    """Pixels of input from one place of the map to the next."""
    padding: int | None
    """Pixels of padding before the first place's field begins."""
    global_by: str = ""
    """The first part that makes every place see the whole input (attention …); empty if none."""

    def __str__(self) -> str:
        known = "unknown" if self.pixels is None else f"{self.pixels} px"
        return f"global ({self.global_by}; {known} without)" if self.global_by else known


@dataclass(frozen=True)
class Cost:
    """What one forward pass of one image costs, and what the model weighs."""

    architecture: str
    image_size: int
    """Side of the square input, in pixels; its width where it is no square."""
    classes: int
    params: int
    """Of the deployed form, as weight_bytes, activations and macs are."""
    trainable_params: int
    weight_bytes: int
    """All parameters and buffers as they are stored, float32 in the main."""
    activations: int | None
    """Output elements of all convolutions, linear layers and matrix products."""
    macs: int | None
    """Headline: multiply-adds of convolutions, linear layers, matrix products and attention.

    Of the form that is deployed; the counters below count the form that trains.
    """
    torch: CounterResult
    """torch's FlopCounterMode, halved: it counts 2 for each multiply-add."""
    fvcore: CounterResult
    """fvcore as it comes, norms and pools included."""
    flopth: CounterResult
    """flopth as it comes, elementwise layers included."""
    flopth_verdict: Verdict
    fvcore_verdict: Verdict
    reason: str
    """Why a counter differs from the headline, in words; empty where all agree."""
    receptive_field: ReceptiveField | None
    training_macs: int | None = None
    """Headline of the form that trains; None where the network has no other form when deployed."""
    training_params: int | None = None
    """Likewise."""
    image_height: int | None = None
    """Height of the input in pixels where it is no square."""

    @property
    def size_text(self) -> str:
        """`224`, or height and width where the input is no square: `1024x768`."""
        return size_text(self.image_size, self.image_height)

    @property
    def flops(self) -> int | None:
        """Floating-point operations: 2 x MACs."""
        return None if self.macs is None else 2 * self.macs

    @property
    def verdict(self) -> Verdict:
        """The worse of the two counters' verdicts."""
        order: tuple[Verdict, ...] = ("disputed", "unchecked", "explained", "agreed")
        return min(self.flopth_verdict, self.fvcore_verdict, key=order.index)

    @property
    def relative_difference(self) -> float | None:
        """How far flopth lies from fvcore, as a share of fvcore's figure; signed."""
        if self.flopth.macs is None or not self.fvcore.macs:
            return None
        return self.flopth.macs / self.fvcore.macs - 1


def size_text(width: int, height: int | None) -> str:
    """An input's size in pixels, as people read it: one number where it is a square."""
    return str(width) if height in (None, width) else f"{height}x{width}"


@dataclass(frozen=True)
class MeasuredCost:
    """What one model takes of a device's time and memory, and under which conditions."""

    device: str
    """`cpu`, or the GPU's name."""
    threads: int
    """Of torch, within one operator."""
    precision: str
    """Of weights and arithmetic: `float32`, and on GPUs what convolutions make of it."""
    image_size: int
    """Side of the square input, in pixels."""
    latency_ms_median: float
    """One forward pass of one image, in milliseconds; warm-up left out."""
    latency_ms_p95: float
    """95 of 100 passes took no longer."""
    latency_ms: tuple[float, ...]
    """Every pass, in order."""
    throughput: dict[int, float]
    """Images per second by batch size, as far as larger batches paid or fitted."""
    inference_memory_bytes: int
    """Weights, and what a forward pass of one image holds beside them at its peak."""
    training_memory_bytes: int
    """Weights, gradients, the optimiser's state and activations at the peak of a training step."""
    training_batch_size: int
    """Images in that step."""
    busy: str
    """Why the figures are not to be ranked, in words; empty if the machine was otherwise idle."""
    deployed: bool = False
    """Whether inference was timed in a deployed form that differs from the one that trains."""

    @property
    def best_batch(self) -> int:
        """The batch size of the highest throughput."""
        return max(self.throughput, key=lambda batch: self.throughput[batch])

    @property
    def best_images_per_second(self) -> float:
        """The highest throughput."""
        return self.throughput[self.best_batch]

    def gmacs_per_second(self, macs: int, batch: int = 1) -> float:
        """Giga multiply-adds per second achieved at a measured batch size.

        `macs` is the headline of the same model at the same size; raises KeyError for a batch size
        that was not measured.
        """
        return macs * self.throughput[batch] / 1e9


@dataclass(frozen=True)
class EpochResult:
    """One epoch, on training images as they went by and on all validation images after it."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean cross-entropy in nats."""
    train_accuracy: float
    """Share of correct predictions, 0 to 1."""
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    """At the epoch's last step."""
    seconds: float
    """Training and validation."""
    images_per_second: float
    """Training images by training time alone; features count as images."""


@dataclass(frozen=True)
class TrainingResult:
    """How training went; the model has the parameters of `best_epoch`."""

    epochs: tuple[EpochResult, ...]
    best_epoch: int
    """The epoch of the lowest validation loss."""
    stopped_early: bool
    route: Literal["features", "pictures"]
    """`features`: the frozen backbone ran once for each view of an image; `images`: every epoch."""
    seconds: float
    """Features, standardising and all epochs; not the start of the process."""
    parts: int = 1
    """In so many a batch went through, for want of memory; their gradients were added up."""
    steps: int | None = None
    """Optimiser steps that were taken; None in records of before they were counted."""
    draws: tuple[str, ...] = ()
    """For each epoch, a hash of its order, mirrors and crops: equal where the epochs were alike."""
    reused_seconds: float | None = 0.0
    """What features read from the cache took when they were computed, not part of `seconds`.

    0 where none were read; None where the cache does not say.
    """

    @property
    def best(self) -> EpochResult:
        """The epoch whose parameters the model has."""
        return self.epochs[self.best_epoch - 1]

    @property
    def full_seconds(self) -> float:
        """Seconds that this training takes where no features are cached, as far as known."""
        return self.seconds + (self.reused_seconds or 0.0)


@dataclass(frozen=True)
class StepTimes:
    """How fast a device trains a model in one precision, by a short probe."""

    forward_s: float
    """Seconds for one image of a large batch, without gradients."""
    step_s: float
    """Seconds for one training step; of the head alone where the backbone's features are kept."""


@dataclass(frozen=True)
class Probe:
    """What a few steps of a training tell about the whole of it."""

    route: Literal["features", "pictures"]
    """As in TrainingResult."""
    times: dict[str, StepTimes]
    """By precision: float32, and bfloat16 where it was asked for."""
    views: int
    """Different images that augmentation makes of one; 1 where they are too many to list."""
    features: int
    """Length of the vector that goes into the head."""
    steps_per_epoch: int
    startup_s: float
    """From the start of the process until the model was built."""
    peak_memory_bytes: int
    """Largest resident memory of the probing process."""
    busy: str = ""
    """What other processes computed meanwhile, in words; empty if next to nothing."""
    spread: float = 0.0
    """Interquartile range of the steps' times as a share of their median; the widest of all."""


@dataclass(frozen=True)
class Predictions:
    """A model's answers for one split."""

    ids: list[str]
    targets: npt.NDArray[np.int64]
    """Class numbers [n]."""
    probabilities: npt.NDArray[np.float32]
    """[n, classes]; rows add up to 1."""


@dataclass(frozen=True)
class ClassResult:
    """One class of an evaluation; shares from 0 to 1."""

    label: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """Predictions against labels."""

    images: int
    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    macro_f1: float
    """Mean of the classes' F1, each class weighing the same."""
    per_class: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows are true classes, columns answers."""
