"""Check, before a study starts, that its recipe works for all its architectures."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn

from clothclf.errors import SettingsError, UserError, did_you_mean, first_line
from clothclf.models.architectures import create_for_size, on_meta
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
    """Raise SettingsError, with one line per error, if the recipe cannot be used.

    `architectures` are names with their image size in pixels.
    """
    errors = [*_mode_errors(train, model), *_optimizer_errors(train)]
    if train.layer_decay is not None and model.mode != "frozen":
        errors += _layer_errors(architectures)
    if errors:
        raise SettingsError("\n".join(errors))


def _mode_errors(train: TrainSettings, model: ModelSettings) -> Iterator[str]:
    if model.mode != "frozen":
        return
    if train.layer_decay is not None:
        yield (
            "train.layer_decay: model.mode: frozen trains only the head; remove it, or set "
            "model.mode: finetune"
        )
    if train.head_epochs:
        yield (
            "train.head_epochs: model.mode: frozen never trains the backbone; remove it, or set "
            "model.mode: finetune"
        )


def _optimizer_errors(train: TrainSettings) -> list[str]:
    name = train.optimizer
    if name != "sgd" and name not in (known := optimizer_names()):
        if any(fnmatch(name, pattern) for pattern in EXCLUDED):
            reason = "it needs an extra package, or cannot resume from a checkpoint"
            return [f"train.optimizer: {name!r} is not supported: {reason}; use adamw, for example"]
        hint = did_you_mean(name.lower(), known) or " (adamw, lamb, lion, muon and more are)"
        return [f"train.optimizer: {name!r} is not known to timm{hint}"]
    errors = [line for option in train.optimizer_options if (line := _option_error(name, option))]
    return errors or _optimizer_refusal(train)


def _option_error(optimizer: str, option: str) -> str:
    if option in OWN_KEYS:
        return f"train.optimizer_options.{option}: set {OWN_KEYS[option]} instead"
    known = option_names(optimizer)
    if option in known:
        return ""
    hint = did_you_mean(option, known) or f" (it takes {', '.join(known)})"
    return f"train.optimizer_options.{option}: {optimizer} has no such option{hint}"


def _optimizer_refusal(train: TrainSettings) -> list[str]:
    """Return the optimizer's error about its options, found by a trial step."""
    plain = train.model_copy(update={"layer_decay": None, "decay_norms_and_biases": True})
    # A matrix and a vector, since some optimizers treat them differently.
    module = nn.Linear(2, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = make_optimizer(module, plain)
            module(torch.ones(2, 2)).square().sum().backward()
            optimizer.step()
    except Exception as error:  # optimizers raise arbitrary exceptions
        first = first_line(error)
        given = ", ".join(f"{key}: {value}" for key, value in train.optimizer_options.items())
        where = f"train.optimizer_options ({given})" if given else "train.optimizer"
        return [f"{where}: {train.optimizer} rejects this: {first}"]
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
                f"train.layer_decay: architecture {name!r} does not define layer groups (timm's "
                "group_matcher); remove layer_decay, or run it in a separate study"
            )


def _layer_count(name: str, size: int) -> int:
    """Return the number of timm's layer groups, including the head; 0 if not defined."""
    from timm.models import group_parameters

    try:
        # The meta device needs no memory and takes 0.1 s.
        with on_meta():
            backbone = create_for_size(name, size, num_classes=0)
    except UserError:
        # A few architectures need real tensors during construction.
        backbone = create_for_size(name, size, num_classes=0)
    if not hasattr(backbone, "group_matcher"):
        return 0
    named: Any = as_timm_names(backbone, nn.Linear(1, 1))
    try:
        groups = group_parameters(named, named.group_matcher(coarse=False), reverse=True)
    except Exception:  # an invalid group_matcher
        return 0
    return len(set(groups.values()))
