"""One optimiser step of several processes, each with its share of the batch."""

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
    """Steps as one process would take them with the whole batch, but for the order of sums.

    torch's DistributedDataParallel averages the gradients of the processes; each weighs its own by
    its share of the images, so that an uneven batch, too, has the mean over its images.
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
        """Bring every process to the first one's parameters; `optimizer` must move these.

        `whole` tells how many images the next batch has, those of all processes.
        """
        device = next(module.parameters()).device
        self._norms = SyncedNorms(module, device)
        self._together = DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            # A body that rests has no gradients, nor have parts that an architecture leaves out.
            find_unused_parameters=True,
        )
        self._optimizer = optimizer
        self._objective = objective
        self._clip_norm = clip_norm
        self._group = group
        self._whole = whole

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Carry out one step on this process's share; the loss and answers are the whole batch's.

        Raises TrainingError where memory is too short: the others cannot wait for smaller parts.
        """
        whole, processes = self._whole(), self._group.size
        cut = self._group.shard.is_sharded(whole)
        # A batch that is not cut is done by all, and counts a part for each.
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
                f"memory is too short for {len(inputs)} images, a process's share of a batch: "
                "lower train.batch_size, or let more processes train"
            ) from error
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters_of(self._optimizer), self._clip_norm)
        self._optimizer.step()
        correct = num_correct(scores, targets)
        sums = torch.stack([loss.detach().double() * part, correct.double() / times])
        dist.all_reduce(sums)
        return sums[0].float(), sums[1].round().long()
