"""Training loop, over images through the whole model or cached features through its head."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from clothclf.data.batches import Batches, FeatureBatches, ImageBatches
from clothclf.errors import TrainingError, TrainingStopped
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures, can_cache_features
from clothclf.results import EpochResult, TrainingResult
from clothclf.settings import TrainSettings
from clothclf.training.average import make_average
from clothclf.training.checkpoint import Checkpoints, Snapshot
from clothclf.training.distributed.distributed_step import DistributedStep
from clothclf.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from clothclf.training.objective import Objective, make_objective
from clothclf.training.optimizer import (
    load_optimizer_state,
    make_optimizer,
    optimizer_state,
    set_learning_rate,
    state_bytes,
    steps_can_be_recorded,
)
from clothclf.training.schedule import learning_rate
from clothclf.training.step import (
    EagerStep,
    RecordedStep,
    Step,
    generator_state,
    record_cuda_graph,
    set_generator_state,
)
from clothclf.training.teacher import Teacher
from clothclf.training.totals import EpochTotals
from clothclf.training.validate import validate


@dataclass(frozen=True)
class Watcher:
    """Callbacks of a training."""

    on_features: Callable[[int, int], None] = lambda done, total: None
    """Called with the number of images whose features are computed, and the total."""
    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    """Called after each step with epoch and step (both from 1), and steps per epoch."""
    on_epoch: Callable[[EpochResult], None] = lambda result: None
    """Called after each epoch."""
    on_resumed: Callable[[list[EpochResult], int], None] = lambda done, steps: None
    """Called on resume with the completed epochs, and completed steps of the next epoch."""
    on_note: Callable[[str], None] = lambda text: None
    """Called with a sentence about something unusual."""
    should_stop: Callable[[], bool] = lambda: False
    """Polled after each step, and between batches of features and validation."""


@dataclass(frozen=True)
class Inputs:
    """What training reads: images for the whole model, or cached features for its head."""

    batches: Batches
    module: nn.Module
    """The classifier or its head."""
    seconds: float
    """Time to compute or read the features."""
    reused_s: float | None = 0.0
    """Seconds that features read from the cache originally took; None if unknown."""

    @property
    def heads_only(self) -> bool:
        """Whether only a head is trained, on cached features."""
        return isinstance(self.batches, FeatureBatches)


def open_inputs(
    classifier: Classifier,
    images: ImageBatches,
    watcher: Watcher,
    cache: Path | None = None,
    features: BackboneFeatures | None = None,
) -> Inputs:
    """Return the inputs of a training: features if the backbone is deterministic.

    `features` are computed and cached in `cache` if not given.
    """
    started = time.perf_counter()
    classifier.to(images.device)
    if not can_cache_features(classifier, images.augment):
        return Inputs(images, classifier, time.perf_counter() - started)

    def on_features(done: int, total: int) -> None:
        watcher.on_features(done, total)
        if watcher.should_stop():
            raise TrainingStopped

    features = features or BackboneFeatures(classifier, images, cache)
    batches = features.batches(on_features)
    seconds = time.perf_counter() - started
    return Inputs(batches, classifier.head, seconds, features.reused_s)


def train(
    classifier: Classifier,
    images: ImageBatches,
    settings: TrainSettings,
    watcher: Watcher,
    cache: Path | None = None,
    checkpoints: Path | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    teacher: Teacher | None = None,
    inputs: Inputs | None = None,
) -> TrainingResult:
    """Train in place, on the device of `images`; the model gets the parameters of the best epoch.

    A deterministic backbone runs once per view of an image, with the same result as running every
    epoch; its features are cached in `cache`. Resumes from `checkpoints`, a folder used only by
    this training, with the same result as without interruption. Raises TrainingError if a loss is
    not finite, and TrainingStopped, after writing a checkpoint, if the watcher requests it.
    Several trainings of one classifier can share `inputs`.

    Every process of a `group` must call this, with its shard in `images`; the first one writes the
    checkpoints. The number of processes may change on resume. A `group` of several processes and a
    `teacher` both require a backbone whose features cannot be cached.
    """
    inputs = inputs or open_inputs(classifier, images, watcher, cache)
    started = time.perf_counter()
    if group.is_first:  # the others receive its parameters
        _standardize(classifier, images, inputs.batches)
    prepared = inputs.seconds + time.perf_counter() - started
    training = _Training(
        classifier,
        inputs.module,
        inputs.batches,
        settings,
        images,
        watcher,
        checkpoints,
        group,
        teacher,
    )
    now = training.run()
    return TrainingResult(
        epochs=tuple(now.history),
        best_epoch=_best(now.history).epoch,
        stopped_early=len(now.history) < settings.epochs,
        route="features" if inputs.heads_only else "images",
        seconds=prepared + now.seconds,
        parts=now.parts,
        steps=len(now.history) * images.steps_per_epoch(),
        draws=tuple(images.views(result.epoch).digest() for result in now.history),
        reused_seconds=inputs.reused_s,
    )


def _standardize(classifier: Classifier, images: ImageBatches, batches: Batches) -> None:
    layer = classifier.head.standardize()
    if layer is None:
        return
    if isinstance(batches, FeatureBatches):
        layer.fit(batches.views[0])
    else:
        layer.fit(BackboneFeatures(classifier, images, None).of("train")[0])


class _Training:
    """State of one training, new or resumed."""

    def __init__(
        self,
        classifier: Classifier,
        module: nn.Module,
        batches: Batches,
        settings: TrainSettings,
        images: ImageBatches,
        watcher: Watcher,
        checkpoints: Path | None,
        group: ProcessGroup,
        teacher: Teacher | None,
    ) -> None:
        self.classifier = classifier
        self.module = module
        self.batches = batches
        self.settings = settings
        self.seed = images.seed
        self.device = images.device
        self.watcher = watcher
        self.group = group
        self.teacher = teacher
        self.sizes = batches.batch_sizes()
        self.checkpoints = Checkpoints(checkpoints if group.is_first else None)
        self.optimizer = make_optimizer(module, settings)
        self.average = make_average(module, settings.ema)
        self.best_state: dict[str, Tensor] = {}
        self.trained_bytes = sum(tensor.nbytes for tensor in classifier.trained_tensors().values())
        self.totals = self._no_totals()
        self.now = Checkpoints(checkpoints).load() or Snapshot()
        targets = images.splits["train"].targets
        objective = make_objective(settings, targets, classifier.head.classes, self.device)
        self.eager = EagerStep(
            module, self.optimizer, objective, settings.clip_grad_norm, self.now.parts
        )
        self._resume()
        self.together = None if group.size == 1 else self._new_distributed_step(objective)
        self.step = self._new_step()

    def run(self) -> Snapshot:
        """Train until the last epoch or early stopping; restore the best epoch's parameters."""
        while not self._is_over():
            try:
                self._train_epoch()
                self._finish_epoch()
            except TrainingStopped:
                self._save()
                raise
            if self.checkpoints.is_due(self._checkpoint_bytes()) or self._is_over():
                self._save()
        self.classifier.backbone_frozen = False
        self.classifier.load_state_dict(self.best_state, strict=False)
        return self.now

    def _new_step(self) -> Step:
        if self.together is not None:
            return self.together
        if not steps_can_be_recorded(self.settings.optimizer, self.device):
            return self.eager
        return RecordedStep(self.eager, self.module, self.optimizer, record_cuda_graph)

    def _new_distributed_step(self, objective: Objective) -> DistributedStep:
        """Create the step of several processes, which must all be at the same epoch and step."""
        here = (self.now.epoch, self.now.steps)
        if self.group.any(here != self.group.from_first(here)):
            raise TrainingError("the processes of the run read different checkpoints; run it again")
        clip, sizes = self.settings.clip_grad_norm, self.sizes
        return DistributedStep(
            self.module, self.optimizer, objective, clip, self.group, lambda: sizes[self.now.steps]
        )

    def _is_over(self) -> bool:
        done = self.now.history
        patience = self.settings.patience
        if patience is not None and done and len(done) - _best(done).epoch >= patience:
            return True
        return len(done) == self.settings.epochs

    def _train_epoch(self) -> None:
        now, steps = self.now, len(self.sizes)
        if now.steps == 0:
            # Dropout uses the global generator; seeding by epoch makes each epoch reproducible.
            torch.manual_seed(self.seed * 1_000_003 + now.epoch)
        frozen = now.epoch <= self.settings.head_epochs
        if frozen != self.classifier.backbone_frozen:
            self.classifier.backbone_frozen = frozen
            self.step = self._new_step()  # a recorded step would keep the backbone frozen
        self.module.train()
        started, before = time.perf_counter(), now.epoch_seconds
        for inputs, targets in self.batches.train(now.epoch, now.steps):
            if self.teacher is not None:
                targets = self.teacher.targets(inputs, targets)
            set_learning_rate(self.optimizer, self._learning_rate(now.steps))
            if self.group.size > 1:
                self.group.seed(self.seed, now.epoch, now.steps)
            self.totals.add(*self.step(inputs, targets), self.sizes[now.steps])
            now.steps += 1
            if self.average is not None:
                self.average.update((now.epoch - 1) * steps + now.steps)
            now.epoch_seconds = before + time.perf_counter() - started
            self.watcher.on_step(now.epoch, now.steps, steps)
            if self.eager.parts != now.parts:
                now.parts = self.eager.parts
                self.watcher.on_note(
                    f"out of memory: each batch is now split into {now.parts} parts, whose "
                    "gradients are accumulated"
                )
            if self.group.any(self.watcher.should_stop()):
                raise TrainingStopped
        self.train_means = self.totals.means(now.epoch)
        now.epoch_seconds = before + time.perf_counter() - started

    def _finish_epoch(self) -> None:
        """Validate, and record the epoch."""
        now, trained = self.now, self.now.epoch_seconds
        started = time.perf_counter()
        valid_loss, valid_accuracy = self._held_out("valid")
        if not math.isfinite(valid_loss):
            raise TrainingError(
                f"the validation loss is not finite after epoch {now.epoch}; lower "
                "train.learning_rate"
            )
        seconds = trained + time.perf_counter() - started
        result = EpochResult(
            epoch=now.epoch,
            train_loss=self.train_means[0],
            train_accuracy=self.train_means[1],
            valid_loss=valid_loss,
            valid_accuracy=valid_accuracy,
            learning_rate=self._learning_rate(now.steps - 1),
            seconds=seconds,
            images_per_second=self.totals.images / trained,
        )
        now.history.append(result)
        now.seconds += seconds
        now.epoch, now.steps, now.epoch_seconds = now.epoch + 1, 0, 0.0
        self.totals = self._no_totals()
        if _best(now.history) is result:
            self.best_state = self._judged_state()
        self.watcher.on_epoch(result)

    def _held_out(self, split: str) -> tuple[float, float]:
        """Return mean loss and accuracy over a split, of the EMA if there is one."""
        stop = self.watcher.should_stop
        if self.average is None:
            return validate(self.module, self.batches, split, self.group, stop)
        with self.average.in_place_of(self.module) as judged:
            return validate(judged, self.batches, split, self.group, stop)

    def _learning_rate(self, step: int) -> float:
        """Return the learning rate at a step of this epoch, counted from 0."""
        steps = len(self.sizes)
        return learning_rate(self.settings, (self.now.epoch - 1) * steps + step, steps)

    def _judged_state(self) -> dict[str, Tensor]:
        """Return the trained tensors as they were validated: the EMA if there is one."""
        state = self.classifier.trained_state()
        return state if self.average is None else self.average.put_into(state, self.classifier)

    def _checkpoint_bytes(self) -> int:
        """Return the size of current, best and averaged parameters, and the optimizer state."""
        copies = 2 if self.average is None else 3
        return copies * self.trained_bytes + state_bytes(self.optimizer)

    def _save(self) -> None:
        """Write a checkpoint with everything that the next step depends on."""
        tensors = {
            f"model.{name}": value for name, value in self.classifier.trained_state().items()
        }
        if self.now.steps or _best(self.now.history) is not self.now.history[-1]:
            tensors |= {f"best.{name}": value for name, value in self.best_state.items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.state().items()}
        tensors |= self.totals.tensors()
        tensors["generator"] = generator_state(self.device)
        self.now.tensors, self.now.optimizer = tensors, optimizer_state(self.optimizer)
        self.checkpoints.save(self.now)
        self.now.tensors, self.now.optimizer = {}, {}

    def _resume(self) -> None:
        """Restore the snapshot; does nothing for a new one."""
        now = self.now
        if not now.tensors:
            return
        self.classifier.load_state_dict(now.of("model"), strict=False)
        if self.average is not None:
            self.average.load(now.of("average"))
        self.best_state = now.of("best") or self._judged_state()
        load_optimizer_state(self.optimizer, now.optimizer)
        self.totals.load(now.tensors)
        set_generator_state(self.device, now.tensors["generator"])
        now.tensors, now.optimizer = {}, {}
        self.watcher.on_resumed(now.history, now.steps)

    def _no_totals(self) -> EpochTotals:
        return EpochTotals(len(self.sizes), self.device)


def _best(history: list[EpochResult]) -> EpochResult:
    """Return the first epoch with the lowest validation loss."""
    return min(history, key=lambda result: result.valid_loss)
