"""Compute loss and accuracy over a split, which several processes may share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from clothclf.data.batches import Batches
from clothclf.errors import TrainingStopped
from clothclf.training.distributed.process_group import ProcessGroup


@torch.no_grad()
def validate(
    module: nn.Module,
    batches: Batches,
    split: str,
    group: ProcessGroup,
    should_stop: Callable[[], bool],
) -> tuple[float, float]:
    """Return mean loss in nats and accuracy, the same in every process.

    Raises TrainingStopped in every process if one of them is requested to stop.
    """
    module.eval()
    losses, correct, count, stopped = [], [], 0, False
    for inputs, targets in batches.held_out(split):
        scores = module(inputs)
        losses.append(functional.cross_entropy(scores, targets, reduction="sum"))
        correct.append((scores.argmax(1) == targets).sum())
        count += len(targets)
        stopped = should_stop()
        if stopped:
            break
    # A process may have no batches.
    loss = float(torch.stack(losses).cpu().double().sum()) if losses else 0.0
    right = int(torch.stack(correct).sum()) if correct else 0
    all_loss, num_correct, all_count, any_stopped = group.sums(loss, right, count, stopped)
    if any_stopped:
        raise TrainingStopped
    return all_loss / all_count, num_correct / all_count
