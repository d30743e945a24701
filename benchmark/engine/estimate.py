"""Estimate the duration and memory of a run from the few steps of a probe."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from benchmark.runs.spec import RunSpec, cost_request
from clothclf.cost.cache import cache_path
from clothclf.results import Probe
from clothclf.settings import Precision

# Measured on two CPU cores with networks from EfficientNet-Lite0 to VGG16.
# Counting starts another process, which imports three counters besides torch.
COUNTING_PER_STARTUP = 1.6
# So does measuring: from 2 s for latency and half a second per batch size, longer for large ones.
MEASURING_WINDOWS_S = 6.0
MEASURING_BATCHES = 8
HELD_OUT_BATCH = 64
# Linux reads mapped files in units of 64 KiB, so reading an image also loads parts of others.
PAGES_AROUND_BYTES = 64 * 2**10
# Heap fragmentation: freed buffers of training steps are too small for those of validation, and
# vice versa. Measured with EfficientNet-B0, DenseNet121 and VGG16.
SCATTERED = 1.4
# Prediction tables, and the plot of the confusion matrix.
EVALUATION_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Estimate:
    """Expected duration and memory of a run, assuming no early stopping."""

    precision: Precision
    seconds: float
    """Duration in seconds, from process start to the record."""
    peak_memory_bytes: int
    """Maximum resident memory of the run's process in bytes, including mapped files."""
    working_memory_bytes: int
    """Memory in bytes that the system cannot reclaim: without mapped images and features."""


def estimate(spec: RunSpec, probe: Probe) -> Estimate:
    """Estimate a run from its probe."""
    precision = spec.precision
    times = probe.times[precision]
    images = spec.data_summary.images
    epochs = spec.train.epochs
    if spec.tuning is not None:
        epochs += spec.tuning.total_epochs(epochs, probe.route == "features")
    steps_s = epochs * probe.steps_per_epoch * times.step_s
    if probe.route == "features":
        forwards = probe.views * images["train"] + images["valid"] + images["test"]
    else:
        forwards = epochs * images["valid"] + images["test"]
        forwards += images["train"] if spec.model.standardize_features else 0
    seconds = probe.startup_s + steps_s + forwards * times.forward_s
    if not cache_path(cost_request(spec), spec.cache).exists():
        seconds += COUNTING_PER_STARTUP * probe.startup_s
    if spec.measure:
        seconds += probe.startup_s + MEASURING_WINDOWS_S
        seconds += MEASURING_BATCHES * HELD_OUT_BATCH * times.forward_s
    image_count = sum(images.values())
    mapped = image_count * (3 * spec.image_size**2 + PAGES_AROUND_BYTES)
    with contextlib.suppress(OSError):
        mapped = min(mapped, spec.pixels.stat().st_size)
    if probe.route == "features":
        rows = probe.views * images["train"] + images["valid"] + images["test"]
        mapped += 4 * rows * probe.features
    scattered = 1.0 if probe.route == "features" else SCATTERED
    working = int(scattered * probe.peak_memory_bytes) + EVALUATION_BYTES
    return Estimate(
        precision=precision,
        seconds=seconds,
        peak_memory_bytes=working + mapped,
        working_memory_bytes=working,
    )
