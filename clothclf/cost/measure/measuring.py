"""Measure latency, throughput and memory in this process, which should do nothing else."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from clothclf.cost.count import CostRequest
from clothclf.cost.deployed_form import check_deployed_form
from clothclf.cost.measure.busy import BusyWatch
from clothclf.cost.measure.effort import (
    ON_LATENCY,
    ON_THROUGHPUT,
    Effort,
    percentile,
    rates_by_batch,
    time_repeatedly,
    time_work,
    warm_up_work,
)
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
from clothclf.models.reparameterize import deployed
from clothclf.results import MeasuredCost

# The same on every CPU, so that best batch sizes are comparable.
WORKING_MEMORY_ON_CPU = 4 * 2**30
# Numbers drawn for a parameter, at most; a prime, so that rows of the parameter differ.
DRAWN = 1_000_003


def measure_in_process(request: CostRequest, device: str, training_batch_size: int) -> MeasuredCost:
    """Measure on a device with torch's defaults; inference uses the deployed form.

    Raises CostError if the architecture cannot be built, run or trained, and DeviceError if the
    device is not available.
    """
    torch_device = select_device(device)
    request = resolve(request)
    _, height, width = input_size(request)
    bench = Bench.build(request, torch_device, deploy=True)
    weights = stored_bytes(bench.model)
    watch = BusyWatch()
    try:
        work = bench.forward(1)
        working = working_bytes(work, torch_device, rehearsal=work)
    except Exception as error:  # architectures raise arbitrary exceptions
        size = f"{height} x {width}"
        raise CostError(f"does not accept images of {size} pixels: {first_line(error)}") from error
    latency_ms = [1e3 * seconds for seconds in bench.latencies()]
    throughput = bench.throughput(1e3 / statistics.fmean(latency_ms), working)
    busy = watch.describe()
    training_weights, training = _training_bytes(request, torch_device, training_batch_size)
    return MeasuredCost(
        device=device_name(torch_device),
        threads=torch.get_num_threads(),
        precision=_precision(torch_device),
        image_size=width,
        latency_ms_median=statistics.median(latency_ms),
        latency_ms_p95=percentile(latency_ms, 0.95),
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
    """Model to be timed, on its device, in evaluation mode and channels-last memory format."""

    model: nn.Module
    device: torch.device
    image_side: tuple[int, ...]
    """Channels, height and width."""
    deployed: bool = False
    """Whether the model is in a deployed form that differs from the training form."""

    @staticmethod
    def build(request: CostRequest, device: torch.device, deploy: bool = False) -> Bench:
        """Build with random weights; `deploy` uses the deployed form if its outputs are the same.

        Raises ArchitectureError or CostError if that fails.
        """
        torch.manual_seed(0)
        try:
            network = build_on_cpu(request, build_on_meta(request).features)
            _draw_unset_weights(network.model)
            other = _deployed(request, network) if deploy else None
            model = (other or network.model).to(device).to(memory_format=torch.channels_last)
        except (RuntimeError, MemoryError) as error:
            raise CostError(f"cannot be moved to {device}: {first_line(error)}") from error
        return Bench(model, device, tuple(network.image.shape[1:]), other is not None)

    def images(self, batch: int) -> Tensor:
        """Return random images, float32 [batch, channels, height, width], channels-last."""
        images = torch.randn(batch, *self.image_side, device=self.device)
        return images.to(memory_format=torch.channels_last)

    def forward(self, batch: int) -> Work:
        """Return a function that runs one forward pass, always over the same images."""
        images = self.images(batch)

        def run() -> None:
            with torch.inference_mode():
                self.model(images)

        return run

    def latencies(self) -> list[float]:
        """Return the seconds of each forward pass of one image, after warm-up."""
        work = self.forward(1)
        warm_up(work, self.device)
        return time_passes(work, self.device, ON_LATENCY)

    def throughput(self, single: float, working: int) -> dict[int, float]:
        """Return images per second by batch size.

        `single` and `working` are the throughput and the working memory in bytes of batch size 1.
        Stops when a larger batch gains too little, or would take too much memory or time.
        """
        latest = 1

        def measure(batch: int) -> list[float]:
            nonlocal working, latest
            if working * batch // latest > self._available_bytes():
                return []
            try:
                work = self.forward(batch)
                working, latest = max(working, peak_bytes(work, self.device)), batch
                return time_passes(work, self.device, ON_THROUGHPUT)
            except torch.OutOfMemoryError:
                return []

        return rates_by_batch(single, measure)

    def _available_bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return WORKING_MEMORY_ON_CPU


def time_pass(work: Work, device: torch.device) -> float:
    """Return the seconds that `work` takes, including the device's queued work."""
    return time_work(work, lambda: wait_for(device))


def time_passes(work: Work, device: torch.device, effort: Effort) -> list[float]:
    """Return the seconds of each pass; runs at least one."""
    return time_repeatedly(work, effort, lambda: wait_for(device))


def warm_up(work: Work, device: torch.device) -> None:
    """Repeat `work` until it gets no faster, within the limits of ON_WARM_UP."""
    warm_up_work(work, lambda: wait_for(device))


def _deployed(request: CostRequest, network: Network) -> nn.Module | None:
    """Return the deployed form if both forms have the same outputs, like when counting."""
    try:
        other = deployed(network.model)
        if other is not None:
            check_deployed_form(request, network.features)
    except CostError:
        return None
    return other


def _training_bytes(request: CostRequest, device: torch.device, batch: int) -> tuple[int, int]:
    """Return the bytes of the weights, and the peak working memory of training steps.

    Uses a separate model, since some cache inference tensors, which do not support autograd. Raises
    CostError.
    """
    bench = Bench.build(request, device)
    trained = _let_train(request, bench.model)
    small = min(2, batch)  # batch norm needs two images

    def train(last: int) -> None:
        optimizer = torch.optim.SGD(trained, lr=0.001, momentum=0.9) if trained else None
        # The first step allocates the optimizer's state; the second one shows the peak.
        _training_step(bench, small, optimizer)
        _training_step(bench, last, optimizer)
        bench.model.zero_grad(set_to_none=True)

    try:
        weights = stored_bytes(bench.model)
        return weights, working_bytes(lambda: train(batch), device, rehearsal=lambda: train(small))
    except Exception as error:  # architectures raise arbitrary exceptions
        message = f"a training step of {batch} images fails: {first_line(error)}"
        raise CostError(message) from error


def _let_train(request: CostRequest, model: nn.Module) -> list[nn.Parameter]:
    """Set the parts that a run trains to training mode; return their parameters."""
    if isinstance(model, Classifier):
        model.train()  # a frozen backbone stays in evaluation mode
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
    """Run one training step; without an optimizer, only a forward pass."""
    images = bench.images(batch)
    if optimizer is None:
        with torch.no_grad():
            bench.model(images)
        return
    optimizer.zero_grad(set_to_none=True)
    scores = bench.model(images)
    if isinstance(scores, (tuple, list)):  # distilled networks have two outputs in training
        scores = scores[0]
    scores = scores.flatten(1)
    targets = torch.arange(batch, device=bench.device) % scores.shape[1]
    functional.cross_entropy(scores, targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _draw_unset_weights(model: nn.Module) -> None:
    """Initialize large parameters, which would else share one zero page that is always cached.

    The scale keeps activations from vanishing, since arithmetic on denormals is slow.
    """
    for parameter in model.parameters():
        if parameter.numel() >= LARGE and parameter.is_floating_point():
            inputs = parameter.numel() / len(parameter)
            bound = math.sqrt(6 / inputs)
            if parameter.numel() < 2 * DRAWN or not parameter.is_contiguous():
                nn.init.uniform_(parameter, -bound, bound)
                continue
            # Copying is several times as fast as drawing, and these are millions of numbers.
            numbers = torch.empty(DRAWN, dtype=parameter.dtype).uniform_(-bound, bound)
            for part in torch.split(parameter.view(-1), DRAWN):
                part.copy_(numbers[: len(part)])


def _precision(device: torch.device) -> str:
    """Describe the precision; on newer GPUs, torch's convolutions use TF32 by default."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return "float32"
    return "float32 (convolutions TF32)" if torch.backends.cudnn.allow_tf32 else "float32"
