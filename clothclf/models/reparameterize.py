"""Reparameterize networks for inference: merge branches that are separate in training."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clothclf.errors import CostError, first_line

_Network = TypeVar("_Network", bound=nn.Module)

METHODS = ("fuse", "reparameterize", "switch_to_deploy")
"""Methods that `timm.utils.reparameterize_model` calls on a layer."""
TOLERANCE = 1e-4
"""Maximum difference of outputs due to rounding, relative to the largest output."""


@torch.no_grad()
def deployed(model: _Network) -> _Network | None:
    """Return a copy reparameterized by timm; None if there is no separate deployed form.

    Also works on the meta device. Raises CostError if timm cannot convert the network.
    """
    children = (child for module in model.modules() for child in module.children())
    if not any(hasattr(child, method) for child in children for method in METHODS):
        return None
    from timm.utils import reparameterize_model

    try:
        # Some architectures create new layers on the default device.
        with next(model.parameters()).device:
            copied: _Network = reparameterize_model(model)
    except Exception as error:  # architectures raise arbitrary exceptions
        raise CostError(f"timm cannot reparameterize it: {first_line(error)}") from error
    return copied if _shapes(copied) != _shapes(model) else None


@torch.no_grad()
def deployed_alike(model: _Network, images: Tensor) -> _Network | None:
    """Return the deployed form of a network in evaluation mode, after comparing outputs.

    Compares both forms on a batch of preprocessed `images`. Raises CostError if their outputs
    differ by more than TOLERANCE, or if the network cannot be converted or run.
    """
    other = deployed(model)
    if other is None:
        return None
    try:
        expected, actual = _outputs(model(images)), _outputs(other(images))
    except Exception as error:  # as above
        raise CostError(f"its deployed form does not run: {first_line(error)}") from error
    difference = float((actual - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:  # also rejects NaN
        raise CostError(
            f"its deployed form has other outputs: they differ by {difference:.2g} of the largest "
            f"(allowed: {TOLERANCE:g})"
        )
    return other


@torch.no_grad()
def randomize(model: nn.Module, images: Tensor) -> None:
    """Randomize constant parameters, and set batch-norm statistics near those of `images`.

    At initial values (means and shifts of 0, scales of 1 or almost 0), a faulty conversion can go
    unnoticed. With statistics far from those of the images, outputs hardly depend on the images.
    """
    for parameter in model.parameters():
        low, high = parameter.aminmax()
        if low == high:
            parameter.uniform_(-0.2, 0.2) if low == 0 else parameter.uniform_(0.5, 1.5)
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(_draw_statistics) for norm in norms]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()


def _draw_statistics(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Set a batch norm's statistics near those of its inputs [n, channels, ...]."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return
    channels = inputs[0].transpose(0, 1).flatten(1)
    variance, mean = torch.var_mean(channels, 1, correction=0)
    # The variance of a dead channel alone would amplify rounding.
    variance = (variance + variance.mean()) * torch.empty_like(variance).uniform_(0.5, 1.5)
    norm.running_mean.copy_(mean + variance.sqrt() * torch.empty_like(mean).uniform_(-0.2, 0.2))
    norm.running_var.copy_(variance)


def _outputs(output: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Flatten all outputs into one vector."""
    parts = [output] if isinstance(output, Tensor) else output
    return torch.cat([part.flatten() for part in parts])


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
