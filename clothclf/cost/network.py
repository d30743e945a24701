"""Build the network to count or measure as a run builds it, but without weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clothclf.cost.count import CostRequest
from clothclf.models.architectures import (
    create,
    create_for_size,
    default_size,
    on_meta,
    own_input_size,
)
from clothclf.models.classifier import Classifier, Head, feature_count
from clothclf.settings import ModelSettings

# In-place float writes of at least this many elements initialize weights; counts ignore values.
LARGE = 2**14


@dataclass(frozen=True)
class Network:
    """Network in evaluation mode, and an image on the same device."""

    model: nn.Module
    image: Tensor
    """Image [1, channels, height, width]."""
    features: int
    """Length of the head's input vector; 0 with timm's own classifier."""

    @property
    def backbone(self) -> nn.Module:
        """timm's network, without our head if there is one."""
        return self.model.backbone if isinstance(self.model, Classifier) else self.model


def resolve(request: CostRequest) -> CostRequest:
    """Replace an image size of 0 by timm's default size.

    A request with timm's own classifier keeps 0, since its default size may not be square.
    """
    if request.image_size or request.own_classifier:
        return request
    return replace(request, image_size=default_size(request.architecture))


def input_size(request: CostRequest) -> tuple[int, int, int]:
    """Return channels, height and width of the image to count and report.

    Derived from the request only, since a network's own configuration may be a sibling's.
    """
    channels, height, width = own_input_size(request.architecture)
    if request.image_size or not request.own_classifier:
        height = width = request.image_size or width
    return channels, height, width


def build_on_meta(request: CostRequest) -> Network:
    """Build on the meta device; raises ArchitectureError if the architecture cannot be built."""
    with on_meta():
        backbone = _backbone(request)
        features = 0
        if not request.own_classifier:
            features = feature_count(backbone, request.image_size, request.architecture)
        return _network(request, backbone, features, torch.device("meta"))


def build_on_cpu(request: CostRequest, features: int, drawn: bool = False) -> Network:
    """Build on the CPU; `drawn` initializes the weights. `features` as found on the meta device."""
    with contextlib.nullcontext() if drawn else skip_initialization():
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
    # With gradients enabled, torch's counter fails on some architectures.
    model.eval().requires_grad_(False)
    return Network(model, torch.zeros(1, *input_size(request), device=device), features)


def class_count(request: CostRequest, model: nn.Module) -> int:
    """Return the number of outputs of the model."""
    return request.classes or int(getattr(model, "num_classes", 0))


def parameter_count(module: nn.Module) -> int:
    """Count all parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def trainable_count(request: CostRequest, model: nn.Module) -> int:
    """Count the parameters that a run trains: only the head's if the backbone is frozen."""
    if not request.frozen:
        return parameter_count(model)
    if isinstance(model, Classifier):
        return parameter_count(model.head)
    classifier: Any = getattr(model, "get_classifier", nn.Identity)()
    parts = classifier if isinstance(classifier, (tuple, list)) else [classifier]
    return sum(parameter_count(part) for part in parts if isinstance(part, nn.Module))


def stored_bytes(model: nn.Module) -> int:
    """Return the size in bytes of all tensors of the state dict; shared ones count once."""
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


class _SkipInitialization(TorchFunctionMode):
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
def skip_initialization() -> Iterator[None]:
    """Skip the initialization of large weights, which takes longer than counting.

    Memory that is never written is never allocated either: the system maps it to a zero page.
    """
    with _SkipInitialization():
        yield
