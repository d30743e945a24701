"""Result types of data, initial weights, training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Route = Literal["features", "images"]
"""`features`: the frozen backbone ran once per view of an image; `images`: in every epoch."""


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
        index = len(self.trials[0].rungs) - 1
        before = self.trials[0].rungs[index].valid_accuracy
        after = self.best.rungs[index].valid_accuracy
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training; the model has the parameters of `best_epoch`."""

    epochs: tuple[EpochResult, ...]
    best_epoch: int
    """Epoch with the lowest validation loss."""
    stopped_early: bool
    route: Route
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

    route: Route
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
