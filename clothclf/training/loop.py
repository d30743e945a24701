"""The one training loop: pictures through a model, or cached features through its head."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from clothclf.data.batches import Batches, FeatureBatches, ImageBatches
from clothclf.errors import TrainingError
from clothclf.models.classifier import Classifier
from clothclf.models.features import BodyFeatures, body_runs_once
from clothclf.results import EpochResult, TrainingResult
from clothclf.settings import TrainSettings


@dataclass(frozen=True)
class Watcher:
    """What the caller wants to hear of while training runs."""

    on_features: Callable[[int, int], None] = lambda done, total: None
    """Pictures whose features are computed, of all."""
    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    """After each step: the epoch, the step (both from 1), steps in an epoch."""
    on_epoch: Callable[[EpochResult], None] = lambda result: None


def train(
    classifier: Classifier,
    images: ImageBatches,
    settings: TrainSettings,
    watcher: Watcher,
    cache: Path | None = None,
) -> TrainingResult:
    """Train in place, on the device of `images`; leave the parameters of the best epoch.

    A body that gives a picture the same features every time runs once for each view; the head's
    steps are the same as if it ran every epoch. Such features are kept below `cache`. Raises
    TrainingError where a loss is not finite.
    """
    started = time.perf_counter()
    classifier.to(images.device)
    batches: Batches = images
    module: nn.Module = classifier
    if body_runs_once(classifier, images.augment):
        batches = BodyFeatures(classifier, images, cache).batches(watcher.on_features)
        module = classifier.head
    _standardize(classifier, images, batches)
    history, stopped = _run_epochs(classifier, module, batches, settings, images.seed, watcher)
    return TrainingResult(
        epochs=tuple(history),
        best_epoch=_best(history).epoch,
        stopped_early=stopped,
        route="pictures" if module is classifier else "features",
        seconds=time.perf_counter() - started,
    )


def _standardize(classifier: Classifier, images: ImageBatches, batches: Batches) -> None:
    layer = classifier.head.standardize()
    if layer is None:
        return
    if isinstance(batches, FeatureBatches):
        layer.fit(batches.views[0])
    else:
        layer.fit(BodyFeatures(classifier, images, None).of("train")[0])


def _run_epochs(
    classifier: Classifier,
    module: nn.Module,
    batches: Batches,
    settings: TrainSettings,
    seed: int,
    watcher: Watcher,
) -> tuple[list[EpochResult], bool]:
    """Train until the last epoch or until patience ends; restore the best epoch's parameters."""
    optimizer = make_optimizer(module, settings)
    schedule = _make_schedule(optimizer, settings, batches.steps_per_epoch())
    history: list[EpochResult] = []
    best_state: dict[str, Tensor] = {}
    for epoch in range(1, settings.epochs + 1):
        # Dropout draws from the global generator: seeded by epoch, any epoch can be run again.
        torch.manual_seed(seed * 1_000_003 + epoch)
        started = time.perf_counter()
        learning_rate = optimizer.param_groups[0]["lr"]
        totals = _TrainTotals()
        module.train()
        for step, (inputs, targets) in enumerate(batches.train(epoch), 1):
            learning_rate = optimizer.param_groups[0]["lr"]
            totals.add(training_step(module, inputs, targets, optimizer), targets)
            schedule.step()
            watcher.on_step(epoch, step, batches.steps_per_epoch())
        train_loss, train_accuracy = totals.means(epoch)
        trained = time.perf_counter()
        valid_loss, valid_accuracy = _held_out(module, batches, "valid")
        if not math.isfinite(valid_loss):
            raise TrainingError(
                f"the validation loss is not finite after epoch {epoch}; lower train.learning_rate"
            )
        result = EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            valid_loss=valid_loss,
            valid_accuracy=valid_accuracy,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - started,
            images_per_second=totals.images / (trained - started),
        )
        history.append(result)
        watcher.on_epoch(result)
        best = _best(history)
        if best is result:
            best_state = classifier.trained_state()
        if settings.patience is not None and epoch - best.epoch >= settings.patience:
            break
    classifier.load_state_dict(best_state, strict=False)
    return history, len(history) < settings.epochs


def _best(history: list[EpochResult]) -> EpochResult:
    """The epoch of the lowest validation loss, the first of several."""
    return min(history, key=lambda result: result.valid_loss)


def make_optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that train."""
    return torch.optim.SGD(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainSettings, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    steps = settings.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if settings.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * step / steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class _TrainTotals:
    """Losses and right answers of an epoch, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.correct: list[Tensor] = []

    def add(self, step: tuple[Tensor, Tensor], targets: Tensor) -> None:
        loss, scores = step
        self.losses.append(loss)
        self.sizes.append(len(targets))
        self.correct.append((scores.argmax(1) == targets).sum())

    @property
    def images(self) -> int:
        return sum(self.sizes)

    def means(self, epoch: int) -> tuple[float, float]:
        """Mean loss and accuracy; raises TrainingError naming the first step that went wrong."""
        losses = torch.stack(self.losses).cpu().double()
        wrong = (~torch.isfinite(losses)).nonzero()
        if len(wrong):
            step = int(wrong[0]) + 1
            # Before the first step nothing is learnt, so that the learning rate is not to blame.
            remedy = (
                "the body's features are not finite: look at model.weights"
                if (epoch, step) == (1, 1)
                else "lower train.learning_rate"
            )
            raise TrainingError(
                f"the training loss is not finite from step {step} of epoch {epoch}; {remedy}"
            )
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        correct = int(torch.stack(self.correct).sum())
        return float((losses * sizes).sum() / sizes.sum()), correct / self.images


def training_step(
    module: nn.Module, inputs: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer
) -> tuple[Tensor, Tensor]:
    """One optimiser step; return loss and scores, detached."""
    optimizer.zero_grad(set_to_none=True)
    scores = module(inputs)
    loss = functional.cross_entropy(scores, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach(), scores.detach()


@torch.no_grad()
def _held_out(module: nn.Module, batches: Batches, split: str) -> tuple[float, float]:
    """Mean loss and accuracy over a split."""
    module.eval()
    loss = correct = 0.0
    count = 0
    for inputs, targets in batches.held_out(split):
        scores = module(inputs)
        loss += float(functional.cross_entropy(scores, targets, reduction="sum"))
        correct += float((scores.argmax(1) == targets).sum())
        count += len(targets)
    return loss / count, correct / count
