"""Synchronized batch norm: statistics over a batch that is sharded over several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SyncedNorms:
    """Synchronized batch norms of a module.

    On NVIDIA GPUs, the module's norms are replaced by torch's SyncBatchNorm. This does not support
    CPUs, on which the module's own norms run with `synced_batch_norm`.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        """Prepare a module; all processes must call this."""
        self._on_gpu: list[nn.SyncBatchNorm] = []
        if device.type != "cuda":
            return
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(module)
        self._on_gpu = [m for m in module.modules() if isinstance(m, nn.SyncBatchNorm)]
        self._single_process = dist.new_group([dist.get_rank()], use_local_synchronization=True)

    @contextlib.contextmanager
    def over(self, cut: bool) -> Iterator[None]:
        """Use statistics over all processes if the batch is sharded (`cut`), else local ones."""
        for norm in self._on_gpu:
            norm.process_group = None if cut else self._single_process
        with _Synced() if cut and not self._on_gpu else contextlib.nullcontext():
            yield


class _Synced(TorchFunctionMode):
    """Intercept every functional batch norm, whichever layer class calls it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        called = synced_batch_norm if func is functional.batch_norm else func
        return called(*args, **(kwargs or {}))


def synced_batch_norm(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Apply `functional.batch_norm` to inputs [n, channels, …] that are sharded over processes.

    Sums and sums of squares are reduced over the processes in the forward pass, and their gradients
    in the backward pass (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1).
    """
    if not training:
        return functional.batch_norm(
            inputs, running_mean, running_var, weight, bias, False, momentum, eps
        )
    exact = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    others = [0, *range(2, inputs.ndim)]
    own_var, own_mean = torch.var_mean(exact, others, correction=0)
    # In float64, since the mean of squares minus the squared mean loses most digits.
    mean, square = own_mean.double(), own_var.double() + own_mean.double().square()
    count = torch.full_like(mean, inputs.numel() / inputs.shape[1])
    sums = _sum_over_processes(torch.stack([mean * count, square * count, count]))
    mean = sums[0] / sums[2]
    var = (sums[1] / sums[2] - mean.square()).clamp_min(0)
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            unbiased = var * (sums[2] / (sums[2] - 1))
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_(unbiased.to(running_var), momentum)
    shape = [1, -1] + [1] * (inputs.ndim - 2)
    scale = (var + eps).rsqrt().to(exact.dtype)
    if weight is not None:
        scale = scale * weight
    synced = (exact - mean.to(exact.dtype).view(shape)) * scale.view(shape)
    if bias is not None:
        synced = synced + bias.view(shape)
    return synced.to(inputs.dtype)


def _sum_over_processes(own: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(own)
    return total


class _Sum(torch.autograd.Function):
    """All-reduce sum, differentiable with respect to each process's own values."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """Sum a tensor over all processes."""
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum its gradient over all processes."""
        total = gradient.clone()
        dist.all_reduce(total)
        return total
