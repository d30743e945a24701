"""One process of a distributed training: `python -m … FOLDER`, with its rank in RANK."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clothclf.data.batches import ImageBatches
from clothclf.data.shard import Shard
from clothclf.errors import TrainingStopped
from clothclf.settings import AugmentSettings, HeadSettings
from clothclf.training.distributed.process_group import (
    SINGLE_PROCESS,
    ProcessGroup,
    init_process_group,
)
from clothclf.training.distributed.synced_norm import SyncedNorms
from clothclf.training.loop import Watcher, train
from tests.clothclf.training.test_loop import CPU, SPLITS, build, numbers, recipe

BATCH = 17
"""70 images are four batches of 17, which 3 processes cannot cut evenly, and one of 2."""
EXACT: dict[str, dict[str, Any]] = {
    "batch norm": {"mode": "finetune"},
    "batch norm with an activation": {"backbone": "test_efficientnet", "mode": "finetune"},
    "drifting statistics of a frozen backbone": {"mode": "frozen", "batch_norm": "drifting"},
    "the head first": {"mode": "finetune", "train": {"head_epochs": 1, "weight_decay": 0.01}},
}
"""In float64: batch norms of a few images make much of what float32 rounds."""
ROUNDED: dict[str, dict[str, Any]] = {
    "batch norm in float32": {"mode": "finetune"},
    "no batch norm": {
        "backbone": "test_convnext",
        "mode": "finetune",
        "train": {"optimizer": "adamw", "clip_grad_norm": 0.5},
    },
    "mixed images": {
        "mode": "finetune",
        "train": {"ema": {"decay": 0.9}, "label_smoothing": 0.1},
        "augment": {"mixup": 0.8, "cutmix": 1.0, "random_erasing": 0.3, "crop_padding": 2},
    },
    "a frozen backbone that runs on": {
        "mode": "frozen",
        "standardize_features": True,
        "train": {"class_weights": "balanced", "schedule": "cosine"},
        "augment": {"crop_padding": 2},
    },
}
for case in EXACT.values():
    case["exact"] = True
for case in ROUNDED.values():
    # In three batches of 24, 24 and 22.
    case["train"] = {"batch_size": 24, "learning_rate": 0.0005, **case.get("train", {})}
DROPOUT: dict[str, Any] = {"mode": "finetune", "head": HeadSettings(hidden=4, dropout=0.3)}


def figures(
    case: dict[str, Any],
    group: ProcessGroup = SINGLE_PROCESS,
    checkpoints: Path | None = None,
    stop_after: int | None = None,
) -> list[tuple[float, ...]] | None:
    """Train one case; returns None if it was stopped after a number of steps."""
    case = dict(case)
    augment = AugmentSettings.model_validate(case.pop("augment", {}))
    options = {"batch_size": BATCH, **case.pop("train", {})}
    settings = recipe(epochs=2, augment=augment, **options)
    exact = case.pop("exact", False)
    classifier = build(**case)
    if exact:
        classifier.double()
        classifier.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    images = ImageBatches(
        SPLITS, classifier.normalization, augment, settings.batch_size, 0, CPU, shard=group.shard
    )
    # Two batches, for three processes.
    images.held_out_batch_size = 16
    steps: list[int] = []
    watcher = Watcher(
        on_step=lambda epoch, step, of: steps.append(step),
        should_stop=lambda: group.is_first and len(steps) == stop_after,
    )
    try:
        result = train(classifier, images, settings, watcher, None, checkpoints, group)
    except TrainingStopped:
        return None
    finally:
        group.any(False)  # the first may still be writing
    return numbers(result)


def norm(share: Shard) -> list[Tensor]:
    """Run a float64 batch norm on a shard of 7 images: output, gradients, statistics."""
    draw = torch.Generator().manual_seed(0)
    # Far from zero: a variance by squares would lose its digits.
    inputs = 1000 + torch.randn(7, 3, 4, 4, generator=draw, dtype=torch.float64)
    slopes = torch.randn(7, 3, 4, 4, generator=draw, dtype=torch.float64)
    part = share.of(slice(0, 7))
    layer = torch.nn.BatchNorm2d(3).double()
    own = inputs[part].clone().requires_grad_()
    with SyncedNorms(layer, CPU).over(share.processes > 1):
        created = layer(own)
    (created * slopes[part]).sum().backward()
    gradients = [own.grad, layer.weight.grad, layer.bias.grad]
    result = [created, *gradients, layer.running_mean, layer.running_var]
    return [tensor.detach() for tensor in result if tensor is not None]


def main(folder: Path) -> None:
    """Train every case in a group, then stop and resume with more and fewer processes."""
    torch.set_num_threads(1)
    group = init_process_group(folder, "cpu")
    result: dict[str, Any] = {
        name: figures(case, group) for name, case in (EXACT | ROUNDED).items()
    }
    result["never stopped"] = figures(DROPOUT, group)
    result["stopped"] = figures(DROPOUT, group, folder / "together", 7)
    result["gone on"] = figures(DROPOUT, group, folder / "together")
    # For one process, and from one.
    result["left"] = figures(EXACT["batch norm"], group, folder / "left", 3)
    result["taken over"] = figures(EXACT["batch norm"], group, folder / "taken over")
    torch.save(norm(group.shard), folder / f"norm-{group.rank}.pt")
    if group.is_first:
        (folder / "found.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
