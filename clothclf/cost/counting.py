"""Count one architecture in this process, which flopth leaves unusable for anything else."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clothclf.cost.count import CostRequest
from clothclf.cost.counters.flopth_counter import CONVENTION as FLOPTH_CONVENTION
from clothclf.cost.counters.flopth_counter import count_with_flopth
from clothclf.cost.counters.fvcore_counter import AS_IT_COMES, FvcoreCount, count_with_fvcore
from clothclf.cost.counters.torch_counter import ForwardRecord, count_with_torch
from clothclf.cost.deployed_form import check_deployed_form
from clothclf.cost.explain import (
    CounterVerdict,
    cross_check,
    explain_flopth,
    explain_fvcore,
    judge,
)
from clothclf.cost.fake_kernels import skip_products
from clothclf.cost.network import (
    Network,
    build_on_cpu,
    build_on_meta,
    class_count,
    input_size,
    parameter_count,
    resolve,
    stored_bytes,
    trainable_count,
)
from clothclf.cost.receptive_field.receptive_field import receptive_field
from clothclf.errors import CostError, UserError, first_line
from clothclf.memory import available_memory_bytes
from clothclf.models.architectures import create_for_size
from clothclf.models.classifier import feature_count
from clothclf.models.deploy import deployed
from clothclf.results import Cost, CounterResult

# Estimated number of simultaneously live tensors of the largest size, including workspaces.
LIVE_TENSORS = 6
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Form:
    """Cost and size of one form of the network, taken before flopth adds its own buffers."""

    macs: int
    params: int
    weight_bytes: int
    activations: int

    @staticmethod
    def of(model: nn.Module, record: ForwardRecord) -> Form:
        """Create from a counted model."""
        return Form(
            record.result.macs or 0, parameter_count(model), stored_bytes(model), record.activations
        )


@dataclass(frozen=True)
class _Attempt:
    """fvcore's count, or the error."""

    count: FvcoreCount | None
    error: str


def count_here(request: CostRequest, quick: bool = False, memory: int | None = None) -> Cost:
    """Count with all three counters, or with torch's only if `quick`.

    `memory` limits fvcore's tensors, in bytes; by default half of the available memory. Raises
    CostError if the architecture cannot be built or run at this size.
    """
    request = resolve(request)
    memory = memory or available_memory_bytes() // 2
    network, record = count_on_meta(request, by_layer=not quick)
    if not record.result.macs:
        raise CostError("its forward pass has no multiply-adds that torch's counter knows")
    _, height, width = record.input_size
    trains = Form.of(network.model, record)
    classes = class_count(request, network.model)
    trainable = trainable_count(request, network.model)
    # Before fvcore, whose counter disables matrix products in this process.
    other, why = _try_deployed(request, network, record, memory)
    if quick:
        attempt, field = _Attempt(None, "not requested"), None
        flopth = _no_figure(FLOPTH_CONVENTION, "not requested")
    else:
        attempt = _try_fvcore(request, network, record, memory)
        field = receptive_field(network.backbone, network.image)
        # Last, since flopth modifies this process and the model.
        flopth = _try_flopth(network)
    verdicts = _verdicts(record, attempt, flopth)
    remarks = [why, *(verdict.reason for verdict in verdicts)]
    return Cost(
        architecture=request.architecture,
        image_size=width,
        image_height=None if height == width else height,
        classes=classes,
        trainable_params=trainable,
        **vars(other or trains),
        training_macs=trains.macs if other else None,
        training_params=trains.params if other else None,
        torch=record.result,
        fvcore=_fvcore_result(attempt),
        flopth=flopth,
        flopth_verdict=verdicts[0].verdict,
        fvcore_verdict=verdicts[1].verdict,
        reason="; ".join(dict.fromkeys(remark for remark in remarks if remark)),
        receptive_field=field,
    )


def count_on_meta(request: CostRequest, by_layer: bool = True) -> tuple[Network, ForwardRecord]:
    """Build on the meta device and count with torch; raises CostError with the model's error."""
    logging.disable(logging.WARNING)  # irrelevant warnings of timm and fvcore
    try:
        network = build_on_meta(request)
        return network, _count(request, network.model, network.image, by_layer)
    except UserError as error:
        raise CostError(str(error)) from error
    except Exception as error:  # architectures raise arbitrary exceptions
        _, height, width = input_size(request)
        size = f"{height} x {width}"
        raise CostError(f"does not accept images of {size} pixels: {first_line(error)}") from error


def _count(
    request: CostRequest, model: nn.Module, image: Tensor, by_layer: bool = False
) -> ForwardRecord:
    """Count with torch; raises CostError if the input size differs from the requested one."""
    record = count_with_torch(model, image, by_layer)
    if record.input_size != input_size(request):
        given, reported = (
            " x ".join(map(str, size)) for size in (record.input_size, input_size(request))
        )
        raise CostError(f"counted on an image of {given}, but it is listed at {reported}")
    return record


def count_deployed_on_meta(request: CostRequest, model: nn.Module) -> Form | None:
    """Count a network's deployed form; None if it has no separate one.

    Raises CostError if it cannot be converted or run. Does not compare the outputs of both forms.
    """
    other = deployed(model)
    if other is None:
        return None
    image = torch.zeros(1, *input_size(request), device="meta")
    try:
        return Form.of(other, _count(request, other, image))
    except Exception as error:  # architectures raise arbitrary exceptions
        raise CostError(f"its deployed form does not run: {first_line(error)}") from error


def count_backbone_on_meta(request: CostRequest) -> tuple[nn.Module, int, ForwardRecord]:
    """Return a backbone on the meta device, its feature count, and its cost, from one pass.

    Raises CostError with the model's error.
    """
    logging.disable(logging.WARNING)
    try:
        with torch.device("meta"):
            backbone = create_for_size(request.architecture, request.image_size, num_classes=0)
            # With gradients enabled, torch's counter fails on some architectures.
            sized = _Sized(backbone.requires_grad_(False), request)
            record = _count(request, sized, torch.zeros(0))
    except UserError as error:
        raise CostError(str(error)) from error
    return backbone, sized.features, record


class _Sized(nn.Module):
    """Backbone whose forward pass records the length of its feature vector."""

    def __init__(self, backbone: nn.Module, request: CostRequest) -> None:
        super().__init__()
        self.backbone = backbone
        self.request = request
        self.features = 0

    def forward(self, unused: Tensor) -> None:
        self.features = feature_count(
            self.backbone, self.request.image_size, self.request.architecture
        )


def _try_deployed(
    request: CostRequest, network: Network, record: ForwardRecord, memory: int
) -> tuple[Form | None, str]:
    """Return the deployed form if its outputs are the same; else None and the reason."""
    try:
        form = count_deployed_on_meta(request, network.model)
        if form is not None:
            # Both forms in double precision, on two images.
            needed = 2 * FLOAT32_BYTES * 2 * (parameter_count(network.model) + _work_space(record))
            if needed > memory:
                raise CostError(f"comparing outputs takes {_gibibytes(needed, memory)}")
            check_deployed_form(request, network.features)
    except CostError as error:
        return None, f"counted in its training form: {error}"
    return form, ""


def _try_fvcore(
    request: CostRequest, network: Network, record: ForwardRecord, memory: int
) -> _Attempt:
    needed = _memory_needed(network, record)
    if needed > memory:
        return _Attempt(
            None,
            f"fvcore needs real tensors, which take {_gibibytes(needed, memory)}",
        )
    try:
        skip_products()
        real = build_on_cpu(request, network.features)
        return _Attempt(count_with_fvcore(real.model, real.image), "")
    except Exception as error:  # architectures raise arbitrary exceptions
        return _Attempt(None, f"fvcore fails: {first_line(error)}")


def _memory_needed(network: Network, record: ForwardRecord) -> int:
    """Estimate the bytes that a forward pass touches: convolution kernels and activations.

    Matrices of linear layers are neither written nor read, so they occupy no physical memory.
    """
    kernels = sum(p.numel() for p in network.model.parameters() if p.ndim > 2)
    return FLOAT32_BYTES * (kernels + _work_space(record))


def _work_space(record: ForwardRecord) -> int:
    """Estimate the elements that a forward pass of one image holds, without parameters."""
    return LIVE_TENSORS * record.largest_tensor


def _gibibytes(needed: int, memory: int) -> str:
    return f"{needed / 2**30:.1f} GiB of memory ({memory / 2**30:.1f} GiB may be used)"


def _try_flopth(network: Network) -> CounterResult:
    try:
        return count_with_flopth(network.model, network.image)
    except Exception as error:  # flopth fails on layers that return tuples, among others
        message = f"flopth fails: {type(error).__name__}: {first_line(error)}"
        return _no_figure(FLOPTH_CONVENTION, message)


def _no_figure(convention: str, error: str) -> CounterResult:
    return CounterResult(None, {}, {}, {}, convention, fault=error)


def _fvcore_result(attempt: _Attempt) -> CounterResult:
    if attempt.count is None:
        return _no_figure(AS_IT_COMES, attempt.error)
    return attempt.count.as_it_comes


def _verdicts(
    record: ForwardRecord, attempt: _Attempt, flopth: CounterResult
) -> tuple[CounterVerdict, CounterVerdict]:
    """Return the verdicts on flopth and on fvcore."""
    headline, count = record.result.macs or 0, attempt.count
    check = cross_check(headline, count.multiply_adds if count else None, attempt.error)
    if check.verdict == "disputed":
        return check, check
    fused = bool(count and "attention" in count.multiply_adds.by_operator)
    on_flopth = judge("flopth", headline, flopth, explain_flopth(record, fused))
    if count is None:
        return on_flopth, check
    own = count.as_it_comes
    return on_flopth, judge("fvcore", headline, own, explain_fvcore(own, count.gaps))


def settle_process() -> None:
    """Use one thread, and flush denormals, which uninitialized memory may contain and are slow."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
