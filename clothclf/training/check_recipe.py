"""Find out before a study starts whether its recipe can be carried out by all its architectures."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn

from clothclf.errors import SettingsError, UserError, did_you_mean, first_line
from clothclf.models.architectures import create_for_size
from clothclf.settings import ModelSettings, TrainSettings
from clothclf.training.optimizer import (
    EXCLUDED,
    OWN_KEYS,
    as_timm_names,
    make_optimizer,
    optimizer_names,
    option_names,
)


def check_recipe(
    train: TrainSettings, model: ModelSettings, architectures: Iterable[tuple[str, int]]
) -> None:
    """Raise SettingsError, with a line for each fault, where a recipe cannot be carried out.

    `architectures` are names with the side of their images in pixels.
    """
    faults = [*_mode_errors(train, model), *_optimizer_errors(train)]
    if train.layer_decay is not None and model.mode != "frozen":
        faults += _layer_errors(architectures)
    if faults:
        raise SettingsError("\n".join(faults))


def _mode_errors(train: TrainSettings, model: ModelSettings) -> Iterator[str]:
    if model.mode != "frozen":
        return
    if train.layer_decay is not None:
        yield (
            "train.layer_decay: model.mode: frozen moves the head alone; leave it out, or say "
            "model.mode: finetune"
        )
    if train.head_epochs:
        yield (
            "train.head_epochs: model.mode: frozen never trains the backbone; leave it out, or say "
            "model.mode: finetune"
        )


def _optimizer_errors(train: TrainSettings) -> list[str]:
    name = train.optimizer
    if name != "sgd" and name not in (known := optimizer_names()):
        if any(fnmatch(name, pattern) for pattern in EXCLUDED):
            reason = "it needs a package of its own, or cannot go on from a checkpoint"
            return [f"train.optimizer: {name!r} is not offered: {reason}; take adamw, say"]
        hint = did_you_mean(name.lower(), known) or " (adamw, lamb, lion, muon and more are)"
        return [f"train.optimizer: {name!r} is not known to timm{hint}"]
    faults = [told for option in train.optimizer_options if (told := _option_error(name, option))]
    return faults or _refusal(train)


def _option_error(optimizer: str, option: str) -> str:
    if option in OWN_KEYS:
        return f"train.optimizer_options.{option}: say it as {OWN_KEYS[option]}"
    known = option_names(optimizer)
    if option in known:
        return ""
    hint = did_you_mean(option, known) or f" (it takes {', '.join(known)})"
    return f"train.optimizer_options.{option}: {optimizer} takes no such option{hint}"


def _refusal(train: TrainSettings) -> list[str]:
    """What the optimiser says to its options where it refuses them, found by a step of its own."""
    plain = train.model_copy(update={"layer_decay": None, "decay_norms_and_biases": True})
    # A matrix and a vector: some optimisers tell them apart.
    module = nn.Linear(2, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = make_optimizer(module, plain)
            module(torch.ones(2, 2)).square().sum().backward()
            optimizer.step()
    except Exception as error:  # each optimiser refuses in its own way
        first = first_line(error)
        given = ", ".join(f"{key}: {value}" for key, value in train.optimizer_options.items())
        where = f"train.optimizer_options ({given})" if given else "train.optimizer"
        return [f"{where}: {train.optimizer} refuses: {first}"]
    return []


def _layer_errors(architectures: Iterable[tuple[str, int]]) -> Iterator[str]:
    for name, size in dict(architectures).items():
        try:
            layers = _layer_count(name, size)
        except UserError as error:
            yield str(error)
            continue
        if layers < 2:
            yield (
                f"train.layer_decay: architecture {name!r} does not tell its layers apart (timm's "
                "group_matcher); leave layer_decay out, or run it in a study of its own"
            )


def _layer_count(name: str, size: int) -> int:
    """Layers that timm tells apart, the head among them; 0 where it does not."""
    from timm.models import group_parameters

    try:
        # Shapes alone: no memory, a tenth of a second.
        with torch.device("meta"):
            backbone = create_for_size(name, size, num_classes=0)
    except UserError:
        # A few architectures compute with real numbers while they are built.
        backbone = create_for_size(name, size, num_classes=0)
    if not hasattr(backbone, "group_matcher"):
        return 0
    named: Any = as_timm_names(backbone, nn.Linear(1, 1))
    try:
        found = group_parameters(named, named.group_matcher(coarse=False), reverse=True)
    except Exception:  # whatever is wrong with what an architecture says of itself
        return 0
    return len(set(found.values()))
