"""Time a few steps of a training, in one precision or alternating between two."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from clothclf.cost.measure.busy import BusyWatch
from clothclf.data.batches import Batch, ImageBatches
from clothclf.device import wait_for
from clothclf.models.classifier import Classifier
from clothclf.models.features import can_cache_features, view_count
from clothclf.models.fold import folded
from clothclf.results import Probe, StepTimes
from clothclf.settings import Precision, TrainSettings
from clothclf.training.average import make_average
from clothclf.training.objective import make_objective
from clothclf.training.optimizer import make_optimizer
from clothclf.training.step import EagerStep, Step
from clothclf.training.teacher import Teacher

ROUNDS = 5
"""Number of timed rounds over all precisions, after one warm-up round."""
HEAD_STEPS = 100
"""Steps of a head per timing, since single ones are too short."""


def probe_training(
    classifier: Classifier,
    images: ImageBatches,
    settings: TrainSettings,
    precisions: Sequence[Precision],
    startup_s: float,
    peak_memory_bytes: Callable[[], int],
    teacher: Teacher | None = None,
) -> Probe:
    """Time steps like those of `loop.train`; modifies the classifier."""
    classifier.to(images.device)
    on_features = can_cache_features(classifier, images.augment)
    if on_features:
        classifier = folded(classifier, images.splits["train"].pixels.shape[1])
    forward: dict[str, list[float]] = {precision: [] for precision in precisions}
    step: dict[str, list[float]] = {precision: [] for precision in precisions}
    whole = _step(classifier, classifier, images, settings)
    batches = _endless(images)
    watch = BusyWatch()
    for _ in range(ROUNDS + 1):
        for precision in precisions:
            classifier.precision = precision
            # Steps first, as in training: the blocks they free are too small for the larger
            # batches of validation, which affects peak memory.
            if on_features:
                step[precision].append(_head_step_s(classifier, images, settings))
            else:
                step[precision].append(_step_s(classifier, batches, whole, teacher))
            forward[precision].append(_forward_s(classifier, images))
    times: dict[str, StepTimes] = {
        # The first round warms up.
        precision: StepTimes(
            statistics.median(forward[precision][1:]), statistics.median(step[precision][1:])
        )
        for precision in precisions
    }
    busy = watch.describe()
    best = {} if on_features else classifier.trained_state()  # as training keeps the best epoch
    peak = peak_memory_bytes()
    del best
    return Probe(
        route="features" if on_features else "images",
        times=times,
        views=view_count(images.augment) or 1,
        features=classifier.head.features,
        steps_per_epoch=images.steps_per_epoch(),
        startup_s=startup_s,
        peak_memory_bytes=peak,
        busy=busy,
        spread=max(_spread(times[1:]) for times in [*forward.values(), *step.values()]),
    )


def _spread(times: Sequence[float]) -> float:
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / middle


def _endless(images: ImageBatches) -> Iterator[Batch]:
    for epoch in itertools.count(1):
        yield from images.train(epoch)


def _forward_s(classifier: Classifier, images: ImageBatches) -> float:
    """Return the seconds per image of a batch, including reading it."""
    classifier.eval()
    started = time.perf_counter()
    inputs, _ = next(images.in_order("train"))
    with torch.inference_mode():
        classifier.features(inputs)
    wait_for(images.device)
    return (time.perf_counter() - started) / len(inputs)


def _step(
    module: nn.Module, classifier: Classifier, images: ImageBatches, settings: TrainSettings
) -> Step:
    """Create a step like that of the loop: loss, gradients, optimizer and EMA."""
    optimizer = make_optimizer(module, settings)
    average = make_average(module, settings.ema)
    targets = images.splits["train"].targets
    objective = make_objective(settings, targets, classifier.head.classes, images.device)
    eager = EagerStep(module, optimizer, objective, settings.clip_grad_norm)
    numbers = itertools.count(1)

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        done = eager(inputs, targets)
        if average is not None:
            average.update(next(numbers))
        return done

    return step


def _step_s(
    classifier: Classifier, batches: Iterator[Batch], step: Step, teacher: Teacher | None
) -> float:
    """Return the seconds of one step, including reading, augmentation and the teacher."""
    classifier.train()
    started = time.perf_counter()
    inputs, targets = next(batches)
    if teacher is not None:
        targets = teacher.targets(inputs, targets)
    step(inputs, targets)
    wait_for(inputs.device)
    return time.perf_counter() - started


def _head_step_s(classifier: Classifier, images: ImageBatches, settings: TrainSettings) -> float:
    head = classifier.head.train()
    step = _step(head, classifier, images, settings)
    features = torch.randn(settings.batch_size, head.features, device=images.device)
    targets = torch.zeros(settings.batch_size, dtype=torch.int64, device=images.device)
    started = time.perf_counter()
    for _ in range(HEAD_STEPS):
        step(features, targets)
    wait_for(images.device)
    return (time.perf_counter() - started) / HEAD_STEPS
