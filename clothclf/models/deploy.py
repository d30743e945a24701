"""Re-parameterise a network for inference: branches that train apart run as one layer."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clothclf.errors import CostError, first_line

Network = TypeVar("Network", bound=nn.Module)

METHODS = ("fuse", "reparameterize", "switch_to_deploy")
"""The methods that `timm.utils.reparameterize_model` calls on a layer."""
TOLERANCE = 1e-4
"""Largest difference of an output, as a share of the largest output, that rounding explains."""


@torch.no_grad()
def deployed(model: Network) -> Network | None:
    """Return a copy in its deployed form, as timm makes it; None where there is no other form.

    Works on the meta device, too. Raises CostError where timm cannot convert the network.
    """
    children = (child for module in model.modules() for child in module.children())
    if not any(hasattr(child, method) for child in children for method in METHODS):
        return None
    from timm.utils import reparameterize_model

    try:
        # Some make their new layers on the default device.
        with next(model.parameters()).device:
            copied: Network = reparameterize_model(model)
    except Exception as error:  # each architecture fails in its own way
        raise CostError(f"timm cannot re-parameterise it: {first_line(error)}") from error
    return copied if _shapes(copied) != _shapes(model) else None


@torch.no_grad()
def deployed_alike(model: Network, images: Tensor) -> Network | None:
    """Return the deployed form of a network in evaluation mode, once its outputs are the same.

    They are compared on a batch of `images` as the network takes them. Raises CostError
    where they differ by more than TOLERANCE, or where the network cannot be converted or run.
    """
    other = deployed(model)
    if other is None:
        return None
    try:
        expected, found = _outputs(model(images)), _outputs(other(images))
    except Exception as error:  # as above
        raise CostError(f"its deployed form does not run: {first_line(error)}") from error
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:  # NaN is no agreement
        raise CostError(
            f"its deployed form has other outputs: they differ by {difference:.2g} of the largest "
            f"(allowed: {TOLERANCE:g})"
        )
    return other


@torch.no_grad()
def randomize(model: nn.Module, images: Tensor) -> None:
    """Draw parameters that start constant, and batch-norm statistics near those of `images`.

    At their initial values (means and shifts of 0, scales of 1 or nearly 0) a faulty conversion
    can go unnoticed; with statistics far from the images' own, outputs hardly depend on them.
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
    """Set a batch norm's statistics near those of the maps [n, channels, ...] that it is given."""
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return
    channels = inputs[0].transpose(0, 1).flatten(1)
    variance, mean = torch.var_mean(channels, 1, correction=0)
    # A dead channel's own variance would blow its rounding up.
    variance = (variance + variance.mean()) * torch.empty_like(variance).uniform_(0.5, 1.5)
    norm.running_mean.copy_(mean + variance.sqrt() * torch.empty_like(mean).uniform_(-0.2, 0.2))
    norm.running_var.copy_(variance)


def _outputs(answer: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """All outputs in one row."""
    parts = [answer] if isinstance(answer, Tensor) else answer
    return torch.cat([part.flatten() for part in parts])


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
