"""Optimizer step of several processes, each with its shard of the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clothclf.errors import TrainingError
from clothclf.training.distributed.process_group import ProcessGroup
from clothclf.training.distributed.synced_norm import SyncedNorms
from clothclf.training.objective import Objective, num_correct
from clothclf.training.optimizer import parameters_of
from clothclf.training.step import is_out_of_memory


class DistributedStep:
    """Step that equals that of one process with the whole batch, except for the order of sums.

    torch's DistributedDataParallel averages the gradients of the processes. Each process weights
    its own by its fraction of the images, so that uneven shards also give the mean over all images.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        clip_norm: float | None,
        group: ProcessGroup,
        whole: Callable[[], int],
    ) -> None:
        """Broadcast the parameters of the first process; `optimizer` must refer to them.

        `whole` returns the number of images of the next batch over all processes.
        """
        device = next(module.parameters()).device
        self._norms = SyncedNorms(module, device)
        self._together = DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            # A frozen backbone, or unused parts of an architecture, have no gradients.
            find_unused_parameters=True,
        )
        self._optimizer = optimizer
        self._objective = objective
        self._clip_norm = clip_norm
        self._group = group
        self._whole = whole

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step on this process's shard; return the results of the whole batch.

        Raises TrainingError if it does not fit in memory: gradient accumulation is not supported.
        """
        whole, processes = self._whole(), self._group.size
        cut = self._group.shard.is_sharded(whole)
        # A batch that is not sharded is processed by all, and each counts a fraction.
        part, times = (len(inputs) / whole, 1) if cut else (1 / processes, processes)
        self._optimizer.zero_grad(set_to_none=True)
        try:
            with self._norms.over(cut):
                scores = self._together(inputs)
            loss = self._objective.loss(scores, targets)
            (loss * (part * processes)).backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"out of memory for {len(inputs)} images, one process's shard of a batch; "
                "lower train.batch_size, or use more processes"
            ) from error
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters_of(self._optimizer), self._clip_norm)
        self._optimizer.step()
        correct = num_correct(scores, targets)
        sums = torch.stack([loss.detach().double() * part, correct.double() / times])
        dist.all_reduce(sums)
        return sums[0].float(), sums[1].round().long()
