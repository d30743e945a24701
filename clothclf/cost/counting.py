"""Count one architecture in this process, which flopth leaves unfit for anything else."""

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
    Finding,
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

# Tensors of the largest size that one forward pass holds at a time, with room for work space.
LIVE_TENSORS = 6
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Form:
    """What one form of the network computes and weighs; before flopth adds buffers of its own."""

    macs: int
    params: int
    weight_bytes: int
    activations: int

    @staticmethod
    def of(model: nn.Module, record: ForwardRecord) -> Form:
        """Of a model that was counted."""
        return Form(
            record.result.macs or 0, parameter_count(model), stored_bytes(model), record.activations
        )


@dataclass(frozen=True)
class _Attempt:
    """fvcore's count, or why there is none."""

    count: FvcoreCount | None
    fault: str


def count_here(request: CostRequest, quick: bool = False, memory: int | None = None) -> Cost:
    """Count with all three counters; with torch's alone where `quick`.

    `memory` is how many bytes fvcore's real arithmetic may take; by default half of what is free.
    Raises CostError where the architecture cannot be built or run at this size.
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
    # First: fvcore's counter leaves no arithmetic to this process.
    other, why = _try_deployed(request, network, record, memory)
    if quick:
        attempt, field = _Attempt(None, "not asked for"), None
        flopth = _no_figure(FLOPTH_CONVENTION, "not asked for")
    else:
        attempt = _try_fvcore(request, network, record, memory)
        field = receptive_field(network.backbone, network.image)
        # Last: it leaves neither this process nor the model as they were.
        flopth = _try_flopth(network)
    findings = _findings(record, attempt, flopth)
    remarks = [why, *(finding.reason for finding in findings)]
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
        fvcore=_own_figure(attempt),
        flopth=flopth,
        flopth_verdict=findings[0].verdict,
        fvcore_verdict=findings[1].verdict,
        reason="; ".join(dict.fromkeys(remark for remark in remarks if remark)),
        receptive_field=field,
    )


def count_on_meta(request: CostRequest, by_layer: bool = True) -> tuple[Network, ForwardRecord]:
    """Build without numbers and count with torch; raises CostError, saying what the model said."""
    logging.disable(logging.WARNING)  # timm and fvcore tell of things that no one asked
    try:
        network = build_on_meta(request)
        return network, _count(request, network.model, network.image, by_layer)
    except UserError as error:
        raise CostError(str(error)) from error
    except Exception as error:  # each architecture fails in its own way
        _, height, width = input_size(request)
        size = f"{height} x {width}"
        raise CostError(f"it refuses images of {size} pixels: {first_line(error)}") from error


def _count(
    request: CostRequest, model: nn.Module, image: Tensor, by_layer: bool = False
) -> ForwardRecord:
    """Count with torch, as all counts are; raises CostError if the image is not the request's."""
    record = count_with_torch(model, image, by_layer)
    if record.input_size != input_size(request):
        given, reported = (
            " x ".join(map(str, size)) for size in (record.input_size, input_size(request))
        )
        raise CostError(f"counted on an image of {given}, but it is listed at {reported}")
    return record


def count_deployed_on_meta(request: CostRequest, model: nn.Module) -> Form | None:
    """Count a network's deployed form; None where it has no other than the one that trains.

    Raises CostError where it cannot be converted or run; whether it answers alike is not seen.
    """
    other = deployed(model)
    if other is None:
        return None
    image = torch.zeros(1, *input_size(request), device="meta")
    try:
        return Form.of(other, _count(request, other, image))
    except Exception as error:  # each architecture fails in its own way
        raise CostError(f"its deployed form does not run: {first_line(error)}") from error


def count_backbone_on_meta(request: CostRequest) -> tuple[nn.Module, int, ForwardRecord]:
    """A body without numbers, the length of its vector, and its count, in one pass.

    Raises CostError, saying what the model said.
    """
    logging.disable(logging.WARNING)
    try:
        with torch.device("meta"):
            backbone = create_for_size(request.architecture, request.image_size, num_classes=0)
            # Parameters that want gradients make torch's counter stumble over some architectures.
            sized = _Sized(backbone.requires_grad_(False), request)
            record = _count(request, sized, torch.zeros(0))
    except UserError as error:
        raise CostError(str(error)) from error
    return backbone, sized.features, record


class _Sized(nn.Module):
    """A body whose one forward pass tells the length of its vector."""

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
    """The deployed form, once it is found to answer alike; else why it is not told of."""
    try:
        form = count_deployed_on_meta(request, network.model)
        if form is not None:
            # Both forms in double precision, on two images.
            needed = 2 * FLOAT32_BYTES * 2 * (parameter_count(network.model) + _work_space(record))
            if needed > memory:
                raise CostError(f"comparing outputs takes {_gibibytes(needed, memory)}")
            check_deployed_form(request, network.features)
    except CostError as error:
        return None, f"counted as it trains: {error}"
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
    except Exception as error:  # each architecture fails in its own way
        return _Attempt(None, f"fvcore fails: {first_line(error)}")


def _memory_needed(network: Network, record: ForwardRecord) -> int:
    """Bytes that a forward pass touches: kernels of convolutions, and some large tensors.

    The matrices of linear layers are neither written nor read, so the system gives them no memory.
    """
    kernels = sum(p.numel() for p in network.model.parameters() if p.ndim > 2)
    return FLOAT32_BYTES * (kernels + _work_space(record))


def _work_space(record: ForwardRecord) -> int:
    """Elements that a forward pass of one image holds at a time, beside parameters."""
    return LIVE_TENSORS * record.largest_tensor


def _gibibytes(needed: int, memory: int) -> str:
    return f"{needed / 2**30:.1f} GiB of memory ({memory / 2**30:.1f} GiB may be used)"


def _try_flopth(network: Network) -> CounterResult:
    try:
        return count_with_flopth(network.model, network.image)
    except Exception as error:  # flopth fails on layers that give tuples, among others
        fault = f"flopth fails: {type(error).__name__}: {first_line(error)}"
        return _no_figure(FLOPTH_CONVENTION, fault)


def _no_figure(convention: str, fault: str) -> CounterResult:
    return CounterResult(None, {}, {}, {}, convention, fault=fault)


def _own_figure(attempt: _Attempt) -> CounterResult:
    if attempt.count is None:
        return _no_figure(AS_IT_COMES, attempt.fault)
    return attempt.count.as_it_comes


def _findings(
    record: ForwardRecord, attempt: _Attempt, flopth: CounterResult
) -> tuple[Finding, Finding]:
    """What is to be said of flopth and of fvcore."""
    headline, count = record.result.macs or 0, attempt.count
    check = cross_check(headline, count.multiply_adds if count else None, attempt.fault)
    if check.verdict == "disputed":
        return check, check
    fused = bool(count and "attention" in count.multiply_adds.by_operator)
    on_flopth = judge("flopth", headline, flopth, explain_flopth(record, fused))
    if count is None:
        return on_flopth, check
    own = count.as_it_comes
    return on_flopth, judge("fvcore", headline, own, explain_fvcore(own, count.gaps))


def settle_process() -> None:
    """One thread, and no slow arithmetic on the tiny numbers that unset memory may hold."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
