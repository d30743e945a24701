"""The recipe's optimiser: which parameters it moves at which rate, and its state on disk."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from clothclf.models.classifier import Classifier
from clothclf.settings import TrainSettings

EXCLUDED = ("fused*", "bnb*", "kron*", "adahessian")
"""Of timm's: they need packages of their own, draw numbers that no checkpoint holds, or take
second derivatives."""
OWN_KEYS = {
    "lr": "train.learning_rate",
    "momentum": "train.momentum",
    "weight_decay": "train.weight_decay",
}
"""Arguments of optimisers that the recipe names by keys of its own."""
NOT_OPTIONS = {"params", "fused", "foreach", "capturable", "differentiable", "maximize"}
"""Arguments that are not a recipe's matter."""
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""Those of torch's that go over memory once, and whose steps a CUDA graph can hold."""
HEAD = "bench_head"
"""A name that no timm architecture gives to a part."""


def optimizer_names() -> list[str]:
    """timm's optimisers that a recipe may name."""
    from timm.optim import list_optimizers

    names: list[str] = list_optimizers(exclude_filters=list(EXCLUDED))
    return names


def option_names(optimizer: str) -> list[str]:
    """What `train.optimizer_options` may hold for an optimiser; its name must be known."""
    known = set(inspect.signature(_optimizer_class(optimizer).__init__).parameters)
    return sorted(known - {"self"} - set(OWN_KEYS) - NOT_OPTIONS)


def make_optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that train.

    `sgd` is torch's with classical momentum, every other is timm's of that name. Where steps can be
    recorded, `lr` is a tensor. What torch or timm raise of a wrong option passes through.
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
    made: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        made = torch.optim.SGD(groups, **own, **options)
    else:
        from timm.optim import create_optimizer_v2

        made = create_optimizer_v2(groups, settings.optimizer, **own, **options)
    if recordable:
        # A number would be part of a recorded graph for ever.
        for group in made.param_groups:
            group["lr"] = torch.tensor(group["lr"], device=device)
    return made


def steps_can_be_recorded(optimizer: str, device: torch.device) -> bool:
    """Whether a CUDA graph can hold the steps of an optimiser of this name on a device."""
    return device.type == "cuda" and _optimizer_class(optimizer) in FUSED


def parameter_groups(module: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """The parameters that train, in groups with their own weight decay and share of the rate.

    `module` is a classifier, or its head alone. The groups are timm's, as it would make them for
    the architecture with its own head; where the head trains first, each is either of it or not.
    """
    groups = _groups(module, settings)
    if not settings.head_epochs or not isinstance(module, Classifier):
        return groups
    # torch's fused SGD wants momentum for all of a group, or for none.
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
    """A body's parts under the names that timm knows them by, and the head beside them.

    timm tells layers by their names, and counts what it does not know, as our head, as the top.
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
    """Change the rate of all parameters to their share of this, in place where it is a tensor."""
    for group in optimizer.param_groups:
        own = rate * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All that the optimiser moves, in the order of its groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that the optimiser's next step depends on but its parameters and their rates.

    Tensors, numbers and text in lists and dicts, as `torch.load` reads with `weights_only`.
    """
    parameters = parameters_of(optimizer)
    kept = ((number, optimizer.state.get(p)) for number, p in enumerate(parameters))
    return {
        "state": {
            number: {
                key: {"value": value, "beside": _lies_beside(value, parameters[number])}
                for key, value in entries.items()
            }
            for number, entries in kept
            if entries
        },
        "groups": [
            {key: value for key, value in group.items() if key not in {"lr", *NOT_OPTIONS}}
            for group in optimizer.param_groups
        ],
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """The inverse of `optimizer_state`, bit for bit: torch's own way would change types."""
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
    """Size of the tensors that the optimiser keeps."""
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

    found: type[torch.optim.Optimizer] = get_optimizer_class(name, bind_defaults=False)
    return found


def _lies_beside(value: object, parameter: Tensor) -> bool:
    """Whether a tensor is on another device than its parameter: torch counts steps on a CPU."""
    return isinstance(value, Tensor) and value.device != parameter.device


def _placed(value: object, parameter: Tensor) -> object:
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    # Fused optimisers go through memory: its order must be the parameter's.
    like = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    return like.copy_(value)
