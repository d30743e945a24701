"""A process that trains by itself as one of several would: `python -m … FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.distributed import destroy_process_group

from clothclf.device import make_repeatable
from clothclf.training.distributed.distributed_step import DistributedStep
from clothclf.training.distributed.process_group import init_process_group
from clothclf.training.objective import Objective
from clothclf.training.optimizer import make_optimizer
from clothclf.training.step import EagerStep, Step
from tests.clothclf.training.test_loop import build, recipe

BATCH = 16


def losses(step: Step, device: torch.device) -> list[float]:
    """Of four steps on images of noise."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCH, 3, 32, 32, generator=draw).to(device)
    targets = torch.randint(3, (BATCH,), generator=draw).to(device)
    return [float(step(inputs, targets)[0]) for _ in range(4)]


def main(folder: Path) -> None:
    """Print the losses with the others (there are none) and alone, and the synchronised norms."""
    make_repeatable()
    group = init_process_group(folder, "cuda")
    module = build(mode="finetune").to(group.device).train()
    optimizer = make_optimizer(module, recipe())
    together = DistributedStep(module, optimizer, Objective(), None, group, lambda: BATCH)
    norms = sum(isinstance(part, nn.SyncBatchNorm) for part in module.modules())
    plain = build(mode="finetune").to(group.device).train()
    alone = EagerStep(plain, make_optimizer(plain, recipe()))
    result = {
        "norms": norms,
        "together": losses(together, group.device),
        "alone": losses(alone, group.device),
    }
    destroy_process_group()
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
