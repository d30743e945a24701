"""Result types: data summaries, counted and measured cost, training and evaluation.

Units are part of the names. Does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class DataSummary:
    """Summary of the data for records and reports."""

    title: str
    synthetic: bool
    fingerprint: str
    """Hash of the ID, pixels, label, split and group of every image."""
    classes: tuple[str, ...]
    """Class names, sorted; the index of a name is its class number."""
    images: dict[str, int]
    """Number of images in each split."""
    images_per_class: dict[str, int]
    rows_read: int
    dropped: dict[str, int]
    """Number of rows and images excluded, by reason."""
    repaired: dict[str, int]
    exact_duplicate_groups: int
    """Number of groups of exact duplicates (images with the same pixels)."""
    exact_duplicate_images: int
    label_conflicts: int
    """Groups of exact duplicates with more than one label."""
    exact_duplicates_across_splits: int
    """Groups of exact duplicates in more than one split: leakage."""
    split_note: str = ""
    """Which splits the source provides, in words; empty if all were drawn."""
    groups: int = 0
    """Number of groups of `data.split.group`; 0 if it is not set."""
    groups_across_splits: int = 0
    """Groups with images in more than one split, which the source provides: leakage."""
    uncorrected_fingerprint: str = ""
    """Fingerprint without `data.corrections`; empty if they change nothing or are not set."""
    labels_corrected: dict[str, int] = field(default_factory=dict)
    """Number of labels that `data.corrections` changed in each split; empty if none."""
    images_excluded: dict[str, int] = field(default_factory=dict)
    """Number of images that `data.corrections` dropped from each split; empty if none."""


@dataclass(frozen=True)
class Weights:
    """Initial weights of a model's backbone."""

    origin: Literal["random", "pretrained", "file"]
    """`random`, `pretrained` (from the model hub) or `file` (given by the user)."""
    name: str
    """Name in reports: `random`, a hub repository or a file name."""
    sha256: str
    """SHA-256 of the file; empty for random weights, which are determined by the seed."""
    path: Path | None
    note: str = ""
    """Why `auto` fell back to random weights."""


@dataclass(frozen=True)
class CounterResult:
    """Result of one counter for one forward pass of one image, in its own convention."""

    macs: int | None
    """Multiply-adds by this counter's convention; None if it failed."""
    by_operator: dict[str, int]
    """MACs by operator (`convolution`, `linear` …) or, for flopth, by layer class."""
    by_module: dict[str, int]
    """MACs by the module's dotted name, as the counter attributes them."""
    not_counted: dict[str, int]
    """Operators or layers that were ignored, with their number of calls."""
    convention: str
    """What the counter counts, and with which factor, in words."""
    error: str = ""
    """Why the counter failed; empty if it succeeded."""


Verdict = Literal["agreed", "explained", "disputed", "unchecked"]


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of one position of the last feature map, along one axis."""

    pixels: int | None
    """Theoretical receptive field in pixels, excluding parts that see the whole input."""
    stride: int | None
    """Input pixels between neighboring positions of the map."""
    padding: int | None
    """Pixels of padding in the receptive field of the first position."""
    global_by: str = ""
    """First part through which each position sees the whole input (attention …); empty if none."""

    def __str__(self) -> str:
        known = "unknown" if self.pixels is None else f"{self.pixels} px"
        return f"global ({self.global_by}; {known} without)" if self.global_by else known


@dataclass(frozen=True)
class Cost:
    """Counted cost of one forward pass of one image, and size of the model."""

    architecture: str
    image_size: int
    """Side of the square input in pixels; its width if it is not square."""
    classes: int
    params: int
    """Parameters of the deployed form, like weight_bytes, activations and macs."""
    trainable_params: int
    weight_bytes: int
    """Size of all parameters and buffers as stored, mostly float32."""
    activations: int | None
    """Output elements of all convolutions, linear layers and matrix products."""
    macs: int | None
    """Headline: multiply-adds of convolutions, linear layers, matrix products and attention.

    Counts the deployed form; `counters` count the training form.
    """
    counters: dict[str, CounterResult]
    """Unmodified result of each counter, by its name in `cost.counters.registry`."""
    verdicts: dict[str, Verdict]
    """Verdict on each counter but torch's, which gives the headline."""
    reason: str
    """Why counters differ from the headline, in words; empty if all agree."""
    receptive_field: ReceptiveField | None
    training_macs: int | None = None
    """Headline of the training form; None if it is the same as the deployed form."""
    training_params: int | None = None
    """Parameters of the training form; None if it is the same as the deployed form."""
    image_height: int | None = None
    """Height of the input in pixels; None if it is square."""

    @property
    def size_text(self) -> str:
        """Input size in pixels: `224`, or `1024x768` (height x width) if it is not square."""
        return size_text(self.image_size, self.image_height)

    @property
    def flops(self) -> int | None:
        """Floating-point operations: 2 x MACs."""
        return None if self.macs is None else 2 * self.macs

    @property
    def verdict(self) -> Verdict:
        """Worst of the counters' verdicts."""
        order: tuple[Verdict, ...] = ("disputed", "unchecked", "explained", "agreed")
        return min(self.verdicts.values(), key=order.index, default="unchecked")

    def counted_macs(self, counter: str) -> int | None:
        """Return the figure of one counter; None if it failed or did not count."""
        result = self.counters.get(counter)
        return None if result is None else result.macs

    @property
    def relative_difference(self) -> float | None:
        """Signed relative difference of flopth from fvcore; None if either has no figure."""
        flopth, fvcore = self.counted_macs("flopth"), self.counted_macs("fvcore")
        return None if flopth is None or not fvcore else flopth / fvcore - 1


def size_text(width: int, height: int | None) -> str:
    """Format an input size in pixels: one number if it is square, else height x width."""
    return str(width) if height in (None, width) else f"{height}x{width}"


@dataclass(frozen=True)
class MeasuredCost:
    """Measured time and memory of one model on a device, and the conditions."""

    device: str
    """`cpu`, `mps` or the GPU model."""
    threads: int
    """torch's intra-op threads."""
    precision: str
    """Precision of weights and arithmetic: `float32`, with a note where convolutions use TF32."""
    image_size: int
    """Side of the square input in pixels."""
    latency_ms_median: float
    """Median time of one forward pass of one image in milliseconds, without warm-up."""
    latency_ms_p95: float
    """95th percentile of the same."""
    latency_ms: tuple[float, ...]
    """Time of every pass in milliseconds, in order."""
    throughput: dict[int, float]
    """Images per second by batch size, up to the largest that fits and is worthwhile."""
    inference_memory_bytes: int
    """Weights plus peak working memory of a forward pass of one image."""
    training_memory_bytes: int
    """Peak of a training step: weights, gradients, optimizer state and activations."""
    training_batch_size: int
    """Number of images in that step."""
    busy: str
    """Why the figures should not be ranked, in words; empty if the machine was otherwise idle."""
    deployed: bool = False
    """Whether inference was timed in a deployed form that differs from the training form."""

    @property
    def best_batch(self) -> int:
        """Batch size with the highest throughput."""
        return max(self.throughput, key=lambda batch: self.throughput[batch])

    @property
    def best_images_per_second(self) -> float:
        """Highest throughput in images per second."""
        return self.throughput[self.best_batch]

    def gmacs_per_second(self, macs: int, batch: int = 1) -> float:
        """Return the achieved giga multiply-adds per second at a measured batch size.

        `macs` is the headline of the same model at the same input size. Raises KeyError for a
        batch size that was not measured.
        """
        return macs * self.throughput[batch] / 1e9


@dataclass(frozen=True)
class EpochResult:
    """Metrics of one epoch: running ones on training images, and on all validation images."""

    epoch: int
    """Epoch number, from 1."""
    train_loss: float
    """Mean cross-entropy in nats."""
    train_accuracy: float
    """Fraction of correct predictions, 0 to 1."""
    valid_loss: float
    valid_accuracy: float
    learning_rate: float
    """Learning rate of the last step."""
    seconds: float
    """Duration of training and validation."""
    images_per_second: float
    """Training images per second, without validation; cached features count as images."""


@dataclass(frozen=True)
class TrialRung:
    """Result of one short training of a trial."""

    epochs: int
    valid_accuracy: float | None
    """Validation accuracy at the epoch with the lowest validation loss; None after an error."""
    valid_loss: float | None
    seconds: float
    error: str = ""
    """Why training failed, such as a loss that is not finite; empty otherwise."""


@dataclass(frozen=True)
class Trial:
    """Training settings that were tried."""

    settings: dict[str, bool | int | float | str | None]
    """Values by key of `train`, for the keys of the space."""
    rungs: tuple[TrialRung, ...] = ()
    """Results of ever longer trainings; the last one is where the trial was dropped."""


@dataclass(frozen=True)
class TuningResult:
    """Trials of a run, and the one whose settings the training has."""

    trials: tuple[Trial, ...]
    """Trials in the order of the points; the first one has the study's settings."""
    chosen: int
    """Index of the best trial of the last rung."""

    @property
    def best(self) -> Trial:
        """The chosen trial."""
        return self.trials[self.chosen]

    @property
    def seconds(self) -> float:
        """Duration of all trials, without the computation of features."""
        return sum(rung.seconds for trial in self.trials for rung in trial.rungs)

    @property
    def gain(self) -> float | None:
        """Validation accuracy of the chosen trial less that of the study's settings.

        Both are from the last rung that the study's settings reached; None if those failed there.
        """
        place = len(self.trials[0].rungs) - 1
        before = self.trials[0].rungs[place].valid_accuracy
        after = self.best.rungs[place].valid_accuracy
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training; the model has the parameters of `best_epoch`."""

    epochs: tuple[EpochResult, ...]
    best_epoch: int
    """Epoch with the lowest validation loss."""
    stopped_early: bool
    route: Literal["features", "pictures"]
    """`features`: the frozen backbone ran once per view of an image; `pictures`: every epoch."""
    seconds: float
    """Duration of feature extraction, standardization and all epochs, without process startup."""
    parts: int = 1
    """Gradient accumulation: number of parts that a batch was split into to fit in memory."""
    steps: int | None = None
    """Number of optimizer steps; None in records from before steps were counted."""
    draws: tuple[str, ...] = ()
    """Hash of each epoch's order, flips and crops; equal if two epochs saw the same views."""
    reused_seconds: float | None = 0.0
    """Time that cached features originally took to compute; not part of `seconds`.

    0 if none were read; None if the cache does not record it.
    """

    temperature: float | None = None
    """Temperature of the probabilities, fitted on validation; None in records from before."""
    tuning: TuningResult | None = None
    """Trials before this training, which chose its settings; None if it was not tuned."""

    @property
    def best(self) -> EpochResult:
        """Result of the epoch whose parameters the model has."""
        return self.epochs[self.best_epoch - 1]

    @property
    def full_seconds(self) -> float:
        """Duration of this training without cached features, as far as known."""
        return self.seconds + (self.reused_seconds or 0.0)


@dataclass(frozen=True)
class StepTimes:
    """Training speed of a model on a device in one precision, from a short probe."""

    forward_s: float
    """Seconds per image of a large batch, without gradients."""
    step_s: float
    """Seconds per training step; of the head only where the backbone's features are cached."""


@dataclass(frozen=True)
class Probe:
    """Result of a few training steps, from which a run's duration and memory are estimated."""

    route: Literal["features", "pictures"]
    """See `TrainingResult.route`."""
    times: dict[str, StepTimes]
    """Times by precision: float32, and bfloat16 if requested."""
    views: int
    """Number of distinct views that augmentation makes of an image; 1 if not enumerable."""
    features: int
    """Length of the head's input vector."""
    steps_per_epoch: int
    startup_s: float
    """Seconds from process start until the model was built."""
    peak_memory_bytes: int
    """Maximum resident memory of the probe process."""
    busy: str = ""
    """CPU use by other processes during the probe, in words; empty if negligible."""
    spread: float = 0.0
    """Largest interquartile range of the step times, relative to their median."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for one split."""

    ids: list[str]
    targets: npt.NDArray[np.int64]
    """Class numbers [n]."""
    probabilities: npt.NDArray[np.float32]
    """Class probabilities [n, classes]; each row sums to 1."""


@dataclass(frozen=True)
class ClassResult:
    """Metrics of one class, each from 0 to 1."""

    label: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics of predictions compared with labels."""

    images: int
    metrics: dict[str, float]
    """Value of each metric that is defined, by its name in `training.metrics`."""
    per_class: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts [classes, classes]: rows are true classes, columns predicted classes."""

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions, 0 to 1."""
        return self.metrics["accuracy"]
