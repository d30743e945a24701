"""Count one architecture in this process, which flopth leaves unusable for anything else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clothclf.cost.count import CostRequest
from clothclf.cost.counters.base import CountContext, Counted, require_memory
from clothclf.cost.counters.registry import COMPARED, COUNTERS, HEADLINE
from clothclf.cost.counters.torch_counter import FLOAT32_BYTES, ForwardRecord, count_with_torch
from clothclf.cost.deployed_form import check_deployed_form
from clothclf.cost.explain import verdicts_on
from clothclf.cost.network import (
    Network,
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
from clothclf.models.architectures import create_for_size, on_meta
from clothclf.models.classifier import feature_count
from clothclf.models.reparameterize import deployed
from clothclf.process.quiet import without_log_warnings
from clothclf.results import Cost, CounterResult


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


@without_log_warnings()  # of timm and fvcore
def count_in_process(request: CostRequest, quick: bool = False, memory: int | None = None) -> Cost:
    """Count with all counters, or with torch's only if `quick`.

    `memory` limits real tensors, in bytes; by default half of the available memory. Raises
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
    # Before the other counters, which disable matrix products in this process.
    other, why = _try_deployed(request, network, record, memory)
    field = None if quick else receptive_field(network.backbone, network.image)
    counted = {} if quick else _count_with_others(request, network, record, memory)
    verdicts = verdicts_on(record.result.macs, counted)
    remarks = [why, *(verdict.reason for verdict in verdicts.values())]
    if quick:
        remarks.append("not compared with other counters")
    return Cost(
        architecture=request.architecture,
        image_size=width,
        image_height=None if height == width else height,
        classes=classes,
        trainable_params=trainable,
        **vars(other or trains),
        training_macs=trains.macs if other else None,
        training_params=trains.params if other else None,
        counters={HEADLINE: record.result, **{name: it.result for name, it in counted.items()}},
        verdicts={name: verdict.verdict for name, verdict in verdicts.items()},
        reason="; ".join(dict.fromkeys(remark for remark in remarks if remark)),
        receptive_field=field,
    )


@without_log_warnings()
def count_on_meta(request: CostRequest, by_layer: bool = True) -> tuple[Network, ForwardRecord]:
    """Build on the meta device and count with torch; raises CostError with the model's error."""
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


@without_log_warnings()
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


@without_log_warnings()
def count_backbone_on_meta(request: CostRequest) -> tuple[nn.Module, int, ForwardRecord]:
    """Return a backbone on the meta device, its feature count, and its cost, from one pass.

    Raises CostError with the model's error.
    """
    try:
        with on_meta():
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
        """Set `features` to the length of the feature vector; the argument is ignored."""
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
            elements = parameter_count(network.model) + record.live_elements
            require_memory(2 * FLOAT32_BYTES * 2 * elements, memory, "comparing outputs")
            check_deployed_form(request, network.features)
    except CostError as error:
        return None, f"counted in its training form: {error}"
    return form, ""


def _count_with_others(
    request: CostRequest, network: Network, record: ForwardRecord, memory: int
) -> dict[str, Counted]:
    """Count with every counter that is compared with the headline; an error is a result."""
    counted: dict[str, Counted] = {}
    for name in sorted(COMPARED, key=lambda name: COUNTERS[name].last):
        counter = COUNTERS[name].load()
        try:
            counted[name] = counter.count(CountContext(request, network, record, memory, counted))
        except Exception as error:  # architectures and counters raise arbitrary exceptions
            message = first_line(error)
            if not isinstance(error, CostError):
                message = f"it fails: {type(error).__name__}: {message}"
            failed = CounterResult(None, {}, {}, {}, counter.CONVENTION, error=message)
            counted[name] = Counted(failed)
    return {name: counted[name] for name in COMPARED}


def settle_process() -> None:
    """Use one thread, and flush denormals, which uninitialized memory may contain and are slow."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
