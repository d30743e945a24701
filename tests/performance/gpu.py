"""On a GPU: a training step as torch starts its kernels one by one, and as one recorded graph."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.performance.harness import Row, ratio_of
from tests.performance.run_inputs import SIZE

CASES = (
    ("tf_efficientnet_lite0", "sgd"),
    ("tf_efficientnet_lite0", "adamw"),
    ("efficientnet_b0", "sgd"),
    ("densenet121", "sgd"),
    ("vgg16", "sgd"),
)
BATCH, STEPS, ROUNDS = 16, 30, 5
"""The published study's batch; each round times so many steps of either kind."""


def gpu(folder: Path) -> list[Row]:
    """Steps that train whole networks, images on the device; none without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return []
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    name = torch.cuda.get_device_name()
    rows = []
    for architecture, optimizer in CASES:
        eager, recorded = (_steps(architecture, optimizer, kind) for kind in ("eager", "recorded"))
        pairs = [(eager(), recorded()) for _ in range(ROUNDS)]
        step_s = statistics.median(fast for _, fast in pairs) / STEPS
        rows.append(
            Row(
                f"`{architecture}`, a step of {optimizer} of {BATCH} at {SIZE} px, {name}",
                f"recorded {ratio_of(pairs)} times as fast as started one by one: "
                f"{1e3 * step_s:.2f} ms, {BATCH / step_s:,.0f} images/s",
                "at least 1",
            )
        )
    return rows


def _steps(architecture: str, optimizer: str, kind: str) -> Callable[[], float]:
    """What carries out a round of steps, warmed up, and returns its seconds."""
    import torch

    from clothclf.cost.measure.measuring import time_pass
    from clothclf.device import make_repeatable
    from clothclf.models.build import build_classifier
    from clothclf.models.weights import RANDOM
    from clothclf.settings import HeadSettings, ModelSettings
    from clothclf.training.optimizer import make_optimizer
    from clothclf.training.step import EagerStep, RecordedStep, Step, record_cuda_graph
    from tests.performance.side import recipe

    make_repeatable()
    device = torch.device("cuda")
    settings = ModelSettings(mode="finetune")
    module = build_classifier(architecture, HeadSettings(), settings, 11, SIZE, RANDOM, 0)
    module.to(device).train()
    mover = make_optimizer(module, recipe(1).model_copy(update={"optimizer": optimizer}))
    eager = EagerStep(module, mover)
    recorded = RecordedStep(eager, module, mover, record_cuda_graph)
    step: Step = recorded if kind == "recorded" else eager
    images = torch.randn(BATCH, 3, SIZE, SIZE, device=device)
    images = images.to(memory_format=torch.channels_last)
    targets = torch.arange(BATCH, device=device) % 11

    def carry_out() -> None:
        for _ in range(STEPS):
            step(images, targets)

    carry_out()
    if recorded.error:
        raise SystemExit(f"{architecture}: a step cannot be recorded: {recorded.error}")
    return lambda: time_pass(carry_out, device)
