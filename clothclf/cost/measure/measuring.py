"""Measure one architecture in this process, which should do nothing else: time and memory."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from clothclf.cost.count import CostRequest
from clothclf.cost.deployed_form import check_deployed_form
from clothclf.cost.measure.busy import BusyWatch
from clothclf.cost.measure.peak_memory import Work, peak_bytes, working_bytes
from clothclf.cost.network import (
    LARGE,
    Network,
    build_on_cpu,
    build_on_meta,
    input_size,
    resolve,
    stored_bytes,
)
from clothclf.device import device_name, select_device, wait_for
from clothclf.errors import CostError, first_line
from clothclf.models.classifier import Classifier
from clothclf.models.deploy import deployed
from clothclf.results import MeasuredCost

BATCH_SIZES = (1, 4, 16, 64)
# A larger batch that gains no more than this is not worth its memory and its wait.
WORTHWHILE_GAIN = 1.05
# The same on every machine with the same kind of device, so that best batches can be compared.
WORKING_MEMORY_ON_CPU = 4 * 2**30


@dataclass(frozen=True)
class Effort:
    """How long to go on: until `least` of both is reached, and in no case beyond a `most`."""

    least_s: float
    least_passes: int
    most_s: float
    most_passes: int

    def is_enough(self, seconds: float, passes: int) -> bool:
        """Whether to stop; true at the latest after one pass beyond `most_s`."""
        if seconds >= self.most_s or passes >= self.most_passes:
            return True
        return seconds >= self.least_s and passes >= self.least_passes


ON_LATENCY = Effort(least_s=1.0, least_passes=30, most_s=5.0, most_passes=1000)
ON_THROUGHPUT = Effort(least_s=1.0, least_passes=2, most_s=3.0, most_passes=1000)
MAX_PASS_S = 2.0
ON_WARM_UP = Effort(least_s=0.0, least_passes=10, most_s=3.0, most_passes=100)
# Times have settled once a window of passes is at most this much faster than the one before it.
WARM_UP_WINDOW = 5
SETTLED_GAIN = 0.05


def measure_here(request: CostRequest, device: str, training_batch_size: int) -> MeasuredCost:
    """Measure on a device, with torch's defaults; inference in the deployed form.

    Raises CostError where the architecture cannot be built, run or trained so, and DeviceError.
    """
    place = select_device(device)
    request = resolve(request)
    _, height, width = input_size(request)
    bench = Bench.build(request, place, deploy=True)
    weights = stored_bytes(bench.model)
    watch = BusyWatch()
    try:
        work = bench.forward(1)
        working = working_bytes(work, place, rehearsal=work)
    except Exception as error:  # each architecture fails in its own way
        size = f"{height} x {width}"
        raise CostError(f"it refuses images of {size} pixels: {first_line(error)}") from error
    latency_ms = [1e3 * seconds for seconds in bench.latencies()]
    throughput = bench.throughput(1e3 / statistics.fmean(latency_ms), working)
    busy = watch.describe()
    training_weights, training = _training_bytes(request, place, training_batch_size)
    return MeasuredCost(
        device=device_name(place),
        threads=torch.get_num_threads(),
        precision=_precision(place),
        image_size=width,
        latency_ms_median=statistics.median(latency_ms),
        latency_ms_p95=_percentile(latency_ms, 0.95),
        latency_ms=tuple(latency_ms),
        throughput=throughput,
        inference_memory_bytes=weights + working,
        training_memory_bytes=training_weights + training,
        training_batch_size=training_batch_size,
        busy=busy,
        deployed=bench.deployed,
    )


@dataclass(frozen=True)
class Bench:
    """A model on its device, in evaluation mode and channels-last memory, to be timed."""

    model: nn.Module
    device: torch.device
    image_side: tuple[int, ...]
    """Channels, height and width."""
    deployed: bool = False
    """Whether the model is in a deployed form that differs from the one that trains."""

    @staticmethod
    def build(request: CostRequest, device: torch.device, deploy: bool = False) -> Bench:
        """Build with random weights, to `deploy` in the deployed form where it answers alike.

        Raises ArchitectureError or CostError where that fails.
        """
        torch.manual_seed(0)
        try:
            network = build_on_cpu(request, build_on_meta(request).features)
            _draw_unset_weights(network.model)
            other = _deployed(request, network) if deploy else None
            model = (other or network.model).to(device).to(memory_format=torch.channels_last)
        except (RuntimeError, MemoryError) as error:
            raise CostError(f"it cannot be put on {device}: {first_line(error)}") from error
        return Bench(model, device, tuple(network.image.shape[1:]), other is not None)

    def images(self, batch: int) -> Tensor:
        """Random images float32 [batch, channels, height, width], channels-last."""
        images = torch.randn(batch, *self.image_side, device=self.device)
        return images.to(memory_format=torch.channels_last)

    def forward(self, batch: int) -> Work:
        """One forward pass over the same images each time it is called."""
        images = self.images(batch)

        def run() -> None:
            with torch.inference_mode():
                self.model(images)

        return run

    def latencies(self) -> list[float]:
        """Seconds of each forward pass of one image, after warm-up."""
        work = self.forward(1)
        warm_up(work, self.device)
        return time_passes(work, self.device, ON_LATENCY)

    def throughput(self, single: float, working: int) -> dict[int, float]:
        """Images per second by batch size, given those of one image and its working bytes.

        Ends where a larger batch gains too little, or would take too much memory or time.
        """
        found, latest = {1: single}, 1
        for batch in BATCH_SIZES[1:]:
            needed = working * batch // latest
            if needed > self._room() or batch / found[latest] > MAX_PASS_S:
                break
            try:
                work = self.forward(batch)
                working = max(working, peak_bytes(work, self.device))
                seconds = time_passes(work, self.device, ON_THROUGHPUT)
            except torch.OutOfMemoryError:
                break
            found[batch] = batch / statistics.fmean(seconds)
            if found[batch] < WORTHWHILE_GAIN * found[latest]:
                break
            latest = batch
        return found

    def _room(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return WORKING_MEMORY_ON_CPU


def time_pass(work: Work, device: torch.device) -> float:
    """Seconds from the start of `work` until the device has finished it."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def time_passes(work: Work, device: torch.device, effort: Effort) -> list[float]:
    """Seconds of each of at least one pass."""
    seconds = [time_pass(work, device)]
    while not effort.is_enough(math.fsum(seconds), len(seconds)):
        seconds.append(time_pass(work, device))
    return seconds


def warm_up(work: Work, device: torch.device) -> None:
    """Work until it gets no faster, within limits."""
    window = WARM_UP_WINDOW
    seconds = [time_pass(work, device)]
    while math.fsum(seconds) < ON_WARM_UP.most_s and len(seconds) < ON_WARM_UP.most_passes:
        if len(seconds) >= 2 * window:
            before = statistics.median(seconds[-2 * window : -window])
            if statistics.median(seconds[-window:]) >= (1 - SETTLED_GAIN) * before:
                return
        seconds.append(time_pass(work, device))


def _deployed(request: CostRequest, network: Network) -> nn.Module | None:
    """The deployed form, as it is counted: where both forms have the same outputs."""
    try:
        other = deployed(network.model)
        if other is not None:
            check_deployed_form(request, network.features)
    except CostError:
        return None
    return other


def _training_bytes(request: CostRequest, device: torch.device, batch: int) -> tuple[int, int]:
    """Weights, and what training steps hold at their peak beside them; raises CostError.

    On a model of its own: some keep tensors of inference that no gradient can pass.
    """
    bench = Bench.build(request, device)
    trained = _let_train(request, bench.model)
    small = min(2, batch)  # batch norm wants two images

    def train(last: int) -> None:
        optimizer = torch.optim.SGD(trained, lr=0.001, momentum=0.9) if trained else None
        # The optimiser's state is there from the first step on, and the second shows the peak.
        _training_step(bench, small, optimizer)
        _training_step(bench, last, optimizer)
        bench.model.zero_grad(set_to_none=True)

    try:
        weights = stored_bytes(bench.model)
        return weights, working_bytes(lambda: train(batch), device, rehearsal=lambda: train(small))
    except Exception as error:  # each architecture fails in its own way
        told = f"a training step of {batch} images fails: {first_line(error)}"
        raise CostError(told) from error


def _let_train(request: CostRequest, model: nn.Module) -> list[nn.Parameter]:
    """Switch to training what a run would train; return those parameters."""
    if isinstance(model, Classifier):
        model.train()  # a frozen backbone stays as it is in evaluation
        (model.head if request.frozen else model).requires_grad_(True)
    elif request.frozen:
        classifier = getattr(model, "get_classifier", nn.Identity)()
        parts = classifier if isinstance(classifier, (tuple, list)) else [classifier]
        for part in parts:
            if isinstance(part, nn.Module):
                part.train().requires_grad_(True)
    else:
        model.train().requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _training_step(bench: Bench, batch: int, optimizer: torch.optim.Optimizer | None) -> None:
    """One step as a run takes it; without an optimiser nothing trains, and it only looks."""
    images = bench.images(batch)
    if optimizer is None:
        with torch.no_grad():
            bench.model(images)
        return
    optimizer.zero_grad(set_to_none=True)
    scores = bench.model(images)
    if isinstance(scores, (tuple, list)):  # distilled networks answer twice in training
        scores = scores[0]
    scores = scores.flatten(1)
    targets = torch.arange(batch, device=bench.device) % scores.shape[1]
    functional.cross_entropy(scores, targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _draw_unset_weights(model: nn.Module) -> None:
    """Give large parameters numbers: unset, they are one page of zeros that never leaves a cache.

    The deviation keeps signals from dying away: arithmetic on the tiniest numbers is slow.
    """
    for parameter in model.parameters():
        if parameter.numel() >= LARGE and parameter.is_floating_point():
            inputs = parameter.numel() / len(parameter)
            bound = math.sqrt(6 / inputs)
            nn.init.uniform_(parameter, -bound, bound)


def _precision(device: torch.device) -> str:
    """In words; on newer GPUs torch's convolutions round their inputs unless told otherwise."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return "float32"
    return "float32 (convolutions TF32)" if torch.backends.cudnn.allow_tf32 else "float32"


def _percentile(values: list[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
