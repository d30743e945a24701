"""The throw-away network that is counted: built as a run builds it, but without weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clothclf.cost.count import CostRequest
from clothclf.models.architectures import create, create_for_size, default_size, own_input_size
from clothclf.models.classifier import Classifier, Head, feature_count
from clothclf.settings import ModelSettings

# In-place float writes at least this large are initial weights, whose values nothing counts.
LARGE = 2**14


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode and an image for it, on the same device."""

    model: nn.Module
    image: Tensor
    """[1, channels, height, width]."""
    features: int
    """Length of the vector that goes into our head; 0 where timm's classifier is kept."""

    @property
    def backbone(self) -> nn.Module:
        """timm's network, below our head where there is one."""
        return self.model.backbone if isinstance(self.model, Classifier) else self.model


def resolve(request: CostRequest) -> CostRequest:
    """Fill in the image's side where timm's own is asked for.

    timm's own network at its own size keeps the 0: its images may be no squares.
    """
    if request.image_size or request.own_classifier:
        return request
    return replace(request, image_size=default_size(request.architecture))


def input_size(request: CostRequest) -> tuple[int, int, int]:
    """Channels, height and width of the image that is counted, and reported.

    They follow from the request alone: what a network says of itself may be another's.
    """
    channels, height, width = own_input_size(request.architecture)
    if request.image_size or not request.own_classifier:
        height = width = request.image_size or width
    return channels, height, width


def build_on_meta(request: CostRequest) -> Network:
    """Build shapes without numbers; raises ArchitectureError where that cannot be."""
    with torch.device("meta"):
        backbone = _backbone(request)
        features = 0
        if not request.own_classifier:
            features = feature_count(backbone, request.image_size, request.architecture)
        return _network(request, backbone, features, torch.device("meta"))


def build_on_cpu(request: CostRequest, features: int, drawn: bool = False) -> Network:
    """Build with memory for the numbers; they are drawn if so asked. `features` as on meta."""
    with contextlib.nullcontext() if drawn else leave_weights_unset():
        backbone = _backbone(request)
        return _network(request, backbone, features, torch.device("cpu"))


def _backbone(request: CostRequest) -> nn.Module:
    name, side = request.architecture, request.image_size
    if not request.own_classifier:
        return create_for_size(name, side, num_classes=0)
    classes = {"num_classes": request.classes} if request.classes else {}
    return create_for_size(name, side, **classes) if side else create(name, **classes)


def _network(
    request: CostRequest, backbone: nn.Module, features: int, device: torch.device
) -> Network:
    model = backbone
    if not request.own_classifier:
        settings = ModelSettings(mode="frozen" if request.frozen else "finetune")
        head = Head(features, request.classes, request.head, request.standardize)
        model = Classifier(backbone, head, settings)
    # Parameters that want gradients make torch's counter stumble over some architectures.
    model.eval().requires_grad_(False)
    return Network(model, torch.zeros(1, *input_size(request), device=device), features)


def class_count(request: CostRequest, model: nn.Module) -> int:
    """Outputs of the model."""
    return request.classes or int(getattr(model, "num_classes", 0))


def parameter_count(module: nn.Module) -> int:
    """All parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def trainable_count(request: CostRequest, model: nn.Module) -> int:
    """Parameters that a run would train: the head's alone where the backbone is frozen."""
    if not request.frozen:
        return parameter_count(model)
    if isinstance(model, Classifier):
        return parameter_count(model.head)
    classifier: Any = getattr(model, "get_classifier", nn.Identity)()
    parts = classifier if isinstance(classifier, (tuple, list)) else [classifier]
    return sum(parameter_count(part) for part in parts if isinstance(part, nn.Module))


def stored_bytes(model: nn.Module) -> int:
    """Bytes of all that a weights file of this model would hold, shared tensors once."""
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


class _LeaveUnset(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("_"):
            target = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(target, Tensor) and target.is_floating_point():
                large = target.numel() >= LARGE and target.device.type == "cpu"
                if large and name not in ("requires_grad_", "set_", "resize_"):
                    return target
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def leave_weights_unset() -> Iterator[None]:
    """Skip the drawing of large initial weights: it takes longer than counting does.

    Memory that is never written costs no memory either: the system hands out zeros as it is read.
    """
    with _LeaveUnset():
        yield
