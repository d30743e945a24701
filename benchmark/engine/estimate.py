"""How long a run will take and how much memory, worked out from a probe's few steps."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from benchmark.runs.spec import RunSpec, cost_request
from clothclf.cost.cache import kept_at
from clothclf.results import Probe
from clothclf.settings import Precision

# Found on two CPU cores with networks from EfficientNet-Lite0 to VGG16.
# Counting starts a process of its own and imports three counters beside torch.
COUNTING_PER_STARTUP = 1.6
# Measuring starts one, too; its windows are about a second each, and large networks overrun them.
MEASURING_WINDOWS_S = 6.0
MEASURING_BATCHES = 8
HELD_OUT_BATCH = 64
# Linux brings pages of a mapped file by 64 KiB, so that an image comes with parts of others.
PAGES_AROUND_BYTES = 64 * 2**10
# Freed buffers stay with a process; in those of training steps, the larger ones of validation find
# no room, and the other way round. Found with EfficientNet-B0, DenseNet121 and VGG16.
SCATTERED = 1.4
# Tables and the image of the confusion matrix, with what draws it.
EVALUATION_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take if no epoch is saved by stopping early."""

    precision: Precision
    seconds: float
    """From the start of its process to its record."""
    peak_memory_bytes: int
    """Largest resident memory of the run's process, images and features in it."""
    working_memory_bytes: int
    """The part that the system cannot take back: without the files that are mapped."""


def estimate(spec: RunSpec, found: Probe) -> Estimate:
    """Work out a run from a probe of it."""
    precision = spec.precision
    times = found.times[precision]
    images = spec.data_summary.images
    epochs = spec.train.epochs
    steps_s = epochs * found.steps_per_epoch * times.step_s
    if found.route == "features":
        forwards = found.views * images["train"] + images["valid"] + images["test"]
    else:
        forwards = epochs * images["valid"] + images["test"]
        forwards += images["train"] if spec.model.standardize_features else 0
    seconds = found.startup_s + steps_s + forwards * times.forward_s
    if not kept_at(cost_request(spec), spec.cache).exists():
        seconds += COUNTING_PER_STARTUP * found.startup_s
    if spec.measure:
        seconds += found.startup_s + MEASURING_WINDOWS_S
        seconds += MEASURING_BATCHES * HELD_OUT_BATCH * times.forward_s
    image_count = sum(images.values())
    mapped = image_count * (3 * spec.image_size**2 + PAGES_AROUND_BYTES)
    with contextlib.suppress(OSError):
        mapped = min(mapped, spec.pixels.stat().st_size)
    if found.route == "features":
        rows = found.views * images["train"] + images["valid"] + images["test"]
        mapped += 4 * rows * found.features
    scattered = 1.0 if found.route == "features" else SCATTERED
    working = int(scattered * found.peak_memory_bytes) + EVALUATION_BYTES
    return Estimate(
        precision=precision,
        seconds=seconds,
        peak_memory_bytes=working + mapped,
        working_memory_bytes=working,
    )
