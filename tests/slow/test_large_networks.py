"""The largest of a family on a small machine: EfficientNet-B7 at 112 pixels within 8 GiB."""

from __future__ import annotations

import subprocess
import sys

import pytest

MAX_BYTES = 8 * 2**30
STEP = """
import torch
from clothclf.cost.measure.peak_memory import highest_resident_bytes
from clothclf.models.build import build_classifier
from clothclf.results import Weights
from clothclf.settings import HeadSettings, ModelSettings, TrainSettings
from clothclf.training.optimizer import make_optimizer
from clothclf.training.step import EagerStep

random = Weights("random", "random", "", None)
model = ModelSettings(mode="finetune", weights="none")
b7 = build_classifier("efficientnet_b7", HeadSettings(), model, 11, 112, random, seed=0)
images = torch.randn(16, 3, 112, 112).to(memory_format=torch.channels_last)
with torch.inference_mode():
    assert b7.eval()(images).shape == (16, 11)
before = {name: tensor.clone() for name, tensor in b7.head.state_dict().items()}
step = EagerStep(b7.train(), make_optimizer(b7, TrainSettings()))
loss, _ = step(images, torch.arange(16) % 11)
assert torch.isfinite(loss)
assert step.parts == 1
assert any(not torch.equal(before[name], tensor) for name, tensor in b7.head.state_dict().items())
print(highest_resident_bytes())
"""


@pytest.mark.slow
def test_a_forward_pass_and_a_training_step_of_b7_stay_within_8_gib() -> None:
    """At the published study's batch of 16; in a process of its own, whose peak is told."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STEP],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < MAX_BYTES
