"""One side of a comparison in a process of its own: `python -m tests.performance.side QUESTION`.

The reference side runs as a script would; ours with the allocator settings that every run is given.
The question is JSON: side, architecture, images, precision, folder. The answer is a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clothclf.allocator import ALLOCATOR
from clothclf.settings import Precision

if TYPE_CHECKING:
    from clothclf.data.batches import ImageBatches
    from clothclf.models.classifier import Classifier
    from clothclf.settings import TrainSettings

Side = Literal[
    "reference frozen", "our frozen", "reference finetune", "our finetune", "minimal finetune"
]
EPOCHS = 10
"""Epochs of the frozen study; the reference side trains one of them, which counts ten times."""
WARM_UP = 64
"""Images in those steps."""


@dataclass(frozen=True)
class Measurement:
    """What to time."""

    side: Side
    architecture: str
    inputs: int
    """Training images; a quarter as many for validation in the frozen study."""
    folder: str
    precision: Precision = "float32"


def measure_side(measurement: Measurement) -> float:
    """Seconds that a fresh process measured."""
    ours = not measurement.side.startswith("reference")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.performance.side",
            json.dumps(asdict(measurement)),
        ],
        env={**os.environ, **(ALLOCATOR if ours else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{measurement}: {done.stderr.strip().splitlines()[-1]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def reference_frozen(measurement: Measurement) -> float:
    """Ten epochs of training and validation, from one of each."""
    import torch

    from tests.performance import reference, run_inputs

    inputs = run_inputs.gather(Path(measurement.folder))
    model, config = reference.build(measurement.architecture, 11, frozen=True)
    parameters = [item for item in model.parameters() if item.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.001, momentum=0.9)
    train = reference.loader(inputs.files("train", measurement.inputs), config, shuffle=True)
    valid = reference.loader(inputs.files("valid", measurement.inputs // 4), config, shuffle=False)
    warm_up = reference.loader(inputs.files("train", WARM_UP), config, shuffle=True)
    reference.train_epoch(model, warm_up, optimizer)
    epoch = reference.train_epoch(model, train, optimizer) + reference.evaluate(model, valid)
    return EPOCHS * epoch


def our_frozen(measurement: Measurement) -> float:
    """The whole of `train` for ten epochs, nothing kept from before."""
    from clothclf.training.loop import Watcher, train

    classifier, images = prepare_ours(measurement, frozen=True)
    return train(classifier, images, recipe(EPOCHS), Watcher()).seconds


def reference_finetune(measurement: Measurement) -> float:
    """One epoch of training, every parameter, after some steps to warm up."""
    import torch

    from tests.performance import reference, run_inputs

    inputs = run_inputs.gather(Path(measurement.folder))
    model, config = reference.build(measurement.architecture, 11, frozen=False)
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.001, momentum=0.9)
    batches = reference.loader(inputs.files("train", measurement.inputs), config, shuffle=True)
    reference.train_epoch(
        model, reference.loader(inputs.files("train", WARM_UP), config, shuffle=True), optimizer
    )
    return reference.train_epoch(model, batches, optimizer)


def our_finetune(measurement: Measurement) -> float:
    """The training part of an epoch of `train`, after an epoch to warm up."""
    from clothclf.training.loop import Watcher, train

    classifier, images = prepare_ours(measurement, frozen=False)
    result = train(classifier, images, recipe(2), Watcher())
    return measurement.inputs / result.epochs[-1].images_per_second


def minimal_finetune(measurement: Measurement) -> float:
    """Ratio of our epoch to the minimal loop over tensors in memory, in turn in this process."""
    import statistics

    import torch
    from torch.nn import functional

    from clothclf.training.loop import Watcher, train

    ours, images = prepare_ours(measurement, frozen=False)
    model, _ = prepare_ours(measurement, frozen=False)
    batches = list(images.train(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def minimal_epoch() -> float:
        model.train()
        started = time.perf_counter()
        for inputs, targets in batches:
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return time.perf_counter() - started

    def our_epoch() -> float:
        result = train(ours, images, recipe(1), Watcher())
        return measurement.inputs / result.epochs[0].images_per_second

    minimal_epoch(), our_epoch()
    return statistics.median(our_epoch() / minimal_epoch() for _ in range(5))


def prepare_ours(measurement: Measurement, frozen: bool) -> tuple[Classifier, ImageBatches]:
    """A classifier and the first images of each split, as a run would have them."""
    from clothclf.device import make_repeatable
    from clothclf.models.build import build_classifier
    from clothclf.models.weights import RANDOM
    from clothclf.settings import HeadSettings, ModelSettings
    from tests.performance import run_inputs

    make_repeatable()
    inputs = run_inputs.gather(Path(measurement.folder))
    settings = ModelSettings(mode="frozen" if frozen else "finetune")
    classifier = build_classifier(
        measurement.architecture, HeadSettings(), settings, 11, run_inputs.SIZE, RANDOM, 0,
        measurement.precision,
    )  # fmt: skip
    images = inputs.batches(classifier)
    counts = {"train": measurement.inputs, "valid": measurement.inputs // 4, "test": 16}
    images.splits = {
        name: replace(part, ids=part.ids[:n], targets=part.targets[:n], rows=part.rows[:n])
        for name, part in images.splits.items()
        for n in [counts[name]]
    }
    return classifier, images


def recipe(epochs: int) -> TrainSettings:
    """The published study's, shortened."""
    from clothclf.settings import TrainSettings

    return TrainSettings(epochs=epochs, batch_size=16)


SIDES = {
    "reference frozen": reference_frozen,
    "our frozen": our_frozen,
    "reference finetune": reference_finetune,
    "our finetune": our_finetune,
    "minimal finetune": minimal_finetune,
}

if __name__ == "__main__":
    asked = Measurement(**json.loads(sys.argv[1]))
    print(json.dumps(SIDES[asked.side](asked)))
