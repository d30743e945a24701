"""Create a recipe's optimizer, with parameter groups, and save and restore its state."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from clothclf.models.classifier import Classifier
from clothclf.settings import TrainSettings

EXCLUDED = ("fused*", "bnb*", "kron*", "adahessian")
"""timm optimizers that are not supported: they need extra packages, use random numbers that are
not in checkpoints, or need second derivatives."""
OWN_KEYS = {
    "lr": "train.learning_rate",
    "momentum": "train.momentum",
    "weight_decay": "train.weight_decay",
}
"""Optimizer arguments with their own key in the recipe."""
NOT_OPTIONS = {"params", "fused", "foreach", "capturable", "differentiable", "maximize"}
"""Optimizer arguments that a recipe cannot set."""
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""torch optimizers with a fused implementation, which CUDA graphs can capture."""
HEAD = "bench_head"
"""Name of the head, which no timm architecture uses for a submodule."""


def optimizer_names() -> list[str]:
    """Return the timm optimizers that a recipe can use."""
    from timm.optim import list_optimizers

    names: list[str] = list_optimizers(exclude_filters=list(EXCLUDED))
    return names


def option_names(optimizer: str) -> list[str]:
    """Return the keys of `train.optimizer_options` of an optimizer; its name must be known."""
    known = set(inspect.signature(_optimizer_class(optimizer).__init__).parameters)
    return sorted(known - {"self"} - set(OWN_KEYS) - NOT_OPTIONS)


def make_optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Create the recipe's optimizer for the trainable parameters.

    `sgd` is torch's SGD with classical momentum; all others are timm's. If steps can be recorded,
    `lr` is a tensor. Exceptions of torch or timm about wrong options pass through.
    """
    groups = parameter_groups(module, settings)
    device = next(p for group in groups for p in group["params"]).device
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.optimizer_options.items()
    }
    kind = _optimizer_class(settings.optimizer)
    if kind in FUSED:
        options["fused"] = device.type in ("cpu", "cuda")
    recordable = steps_can_be_recorded(settings.optimizer, device)
    if recordable and kind is not torch.optim.SGD:
        options["capturable"] = True
    own: dict[str, Any] = {
        "lr": settings.learning_rate,
        "momentum": settings.momentum,
        "weight_decay": settings.weight_decay,
    }
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, **own, **options)
    else:
        from timm.optim import create_optimizer_v2

        optimizer = create_optimizer_v2(groups, settings.optimizer, **own, **options)
    if recordable:
        # A Python number would be a constant of the recorded graph.
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], device=device)
    return optimizer


def steps_can_be_recorded(optimizer: str, device: torch.device) -> bool:
    """Return whether a CUDA graph can capture the steps of an optimizer on a device."""
    return device.type == "cuda" and _optimizer_class(optimizer) in FUSED


def parameter_groups(module: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return parameter groups of the trainable parameters, with weight decay and rate scale.

    `module` is a classifier or its head. The groups are those of timm for the architecture with its
    own head. With `head_epochs`, groups are also split by head and backbone.
    """
    groups = _groups(module, settings)
    if not settings.head_epochs or not isinstance(module, Classifier):
        return groups
    # torch's fused SGD requires momentum buffers for all parameters of a group, or for none.
    head = {id(parameter) for parameter in module.head.parameters()}
    return [
        {**group, "params": chosen}
        for group in groups
        for of_head in (False, True)
        if (chosen := [p for p in group["params"] if (id(p) in head) == of_head])
    ]


def _groups(module: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    if settings.decay_norms_and_biases and settings.layer_decay is None:
        return [{"params": [p for p in module.parameters() if p.requires_grad]}]
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    named = module
    if isinstance(module, Classifier):
        named = as_timm_names(module.backbone, module.head)
    spared: set[str] = set()
    if not settings.decay_norms_and_biases and isinstance(module, Classifier):
        spared = set(getattr(module.backbone, "no_weight_decay", set)())
    decay = {
        "weight_decay": settings.weight_decay,
        "weight_decay_exclude_1d": not settings.decay_norms_and_biases,
        "no_weight_decay_list": spared,
    }
    groups: list[dict[str, Any]]
    if settings.layer_decay is None:
        groups = param_groups_weight_decay(named, **decay)
    else:
        groups = param_groups_layer_decay(named, layer_decay=settings.layer_decay, **decay)
    return groups


def as_timm_names(backbone: nn.Module, head: nn.Module) -> nn.Module:
    """Return a module with the backbone's children under timm's names, and the head.

    timm groups layers by name and treats unknown ones, such as our head, as the last layer.
    """
    named = nn.Module()
    for name, child in backbone.named_children():
        named.add_module(name, child)
    for name, parameter in backbone.named_parameters(recurse=False):
        named.register_parameter(name, parameter)
    named.add_module(HEAD, head)
    if hasattr(backbone, "group_matcher"):
        named.group_matcher = backbone.group_matcher
    return named


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group, times its scale; in place if it is a tensor."""
    for group in optimizer.param_groups:
        own = rate * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return all parameters of an optimizer, in the order of its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state that the next step depends on, without parameters and learning rates.

    Contains only types that `torch.load` reads with `weights_only`.
    """
    parameters = parameters_of(optimizer)
    states = ((number, optimizer.state.get(p)) for number, p in enumerate(parameters))
    return {
        "state": {
            number: {
                key: {"value": value, "beside": _is_on_same_device(value, parameters[number])}
                for key, value in entries.items()
            }
            for number, entries in states
            if entries
        },
        "groups": [
            {key: value for key, value in group.items() if key not in {"lr", *NOT_OPTIONS}}
            for group in optimizer.param_groups
        ],
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Restore the result of `optimizer_state` exactly; torch's own method would change dtypes."""
    parameters = parameters_of(optimizer)
    for number, entries in saved["state"].items():
        parameter = parameters[number]
        optimizer.state[parameter] = {
            key: entry["value"] if entry["beside"] else _placed(entry["value"], parameter)
            for key, entry in entries.items()
        }
    for group, values in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update(values)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the size in bytes of the optimizer's state tensors."""
    return sum(
        value.nbytes
        for entries in optimizer.state.values()
        for value in entries.values()
        if isinstance(value, Tensor)
    )


def _optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    if name == "sgd":
        return torch.optim.SGD
    from timm.optim import get_optimizer_class

    kind: type[torch.optim.Optimizer] = get_optimizer_class(name, bind_defaults=False)
    return kind


def _is_on_same_device(value: object, parameter: Tensor) -> bool:
    """Return whether a tensor is on another device than its parameter, like step counts."""
    return isinstance(value, Tensor) and value.device != parameter.device


def _placed(value: object, parameter: Tensor) -> object:
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    # Fused optimizers require the memory format of the parameter.
    like = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    return like.copy_(value)
