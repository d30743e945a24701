"""What a GPU does otherwise than a CPU: recorded steps, its own want of memory, its own clock.

Skipped where torch finds no CUDA device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clothclf.cost.measure.request import measure_cost
from clothclf.device import make_repeatable
from clothclf.errors import TrainingStopped
from clothclf.models.load_weights import state_hash
from clothclf.settings import HeadSettings
from clothclf.training.loop import Watcher, train
from clothclf.training.optimizer import make_optimizer, set_learning_rate
from clothclf.training.step import EagerStep, RecordedStep, record_cuda_graph
from tests.benchmark.conftest import TINY, run_bench
from tests.clothclf.cost.test_measure import request
from tests.clothclf.training.test_loop import CPU, build, feed, numbers, recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
GPU = torch.device("cuda")
HEAD = HeadSettings(hidden=4, dropout=0.3)
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "clip_grad_norm": 1.0, "ema": {"decay": 0.9}},
}
MIXED = {"mixup": 0.8, "cutmix": 1.0, "random_erasing": 0.3, "crop_padding": 2}


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """As in a run."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    make_repeatable()
    yield
    torch.use_deterministic_algorithms(False)


def steps_of_sgd(recorded: bool, *sizes: int) -> tuple[list[Tensor], str]:
    """Losses, then parameters and buffers, after some steps; and why they were not recorded."""
    torch.manual_seed(0)
    module = build(HEAD, mode="finetune").to(GPU).train()
    optimizer = make_optimizer(module, recipe(weight_decay=0.01))
    eager = EagerStep(module, optimizer)
    step = RecordedStep(eager, module, optimizer, record_cuda_graph) if recorded else eager
    draw = torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    losses = []
    for number, size in enumerate(sizes):
        set_learning_rate(optimizer, 0.01 / (number + 1))
        inputs = torch.randn(size, 3, 32, 32, generator=draw).to(GPU)
        targets = torch.randint(3, (size,), generator=draw).to(GPU)
        losses.append(step(inputs, targets)[0])
    found = [tensor.cpu() for tensor in (*losses, *module.state_dict().values())]
    return found, step.error if isinstance(step, RecordedStep) else ""


def test_a_recorded_step_trains_as_an_eager_one() -> None:
    """With dropout, momentum, batch norm, a changing rate and a batch of another size between."""
    found, error = steps_of_sgd(True, 16, 16, 7, 16)
    expected, _ = steps_of_sgd(False, 16, 16, 7, 16)
    assert error == ""
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def figures(
    device: torch.device = GPU,
    optimizer: str = "sgd",
    mode: str = "finetune",
    augment: dict[str, Any] | None = None,
    checkpoints: Path | None = None,
    stop_after: int | None = None,
) -> tuple[list[tuple[float, ...]], str] | None:
    """A training's figures and parameters; None where it was stopped after so many steps."""
    steps: list[int] = []
    watcher = Watcher(
        on_step=lambda epoch, step, of: steps.append(step),
        should_stop=lambda: len(steps) == stop_after,
    )
    torch.rand(3, device=device)  # the global generator is somewhere else each time
    classifier = build(HEAD if augment is None else HeadSettings(), mode=mode)
    settings = recipe(learning_rate=0.005, schedule="cosine", **RECIPES[optimizer])
    images = feed(classifier, 0, device, **(augment or {}))
    images.resident = device.type == "cuda"
    try:
        result = train(classifier, images, settings, watcher, checkpoints=checkpoints)
    except TrainingStopped:
        return None
    return numbers(result), state_hash(classifier)


@pytest.mark.parametrize("optimizer", RECIPES)
@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_a_stopped_training_ends_as_one_that_was_not(
    mode: str, optimizer: str, tmp_path: Path
) -> None:
    """The same seed gives the same bits, resumed or not."""
    expected = figures(optimizer=optimizer, mode=mode)
    assert figures(optimizer=optimizer, mode=mode) == expected
    assert figures(optimizer=optimizer, mode=mode, checkpoints=tmp_path, stop_after=7) is None
    assert figures(optimizer=optimizer, mode=mode, checkpoints=tmp_path) == expected


@pytest.mark.parametrize(("optimizer", "augment"), [("sgd", {}), ("adamw", {}), ("adamw", MIXED)])
def test_training_begins_as_on_a_cpu(optimizer: str, augment: dict[str, Any]) -> None:
    """The first epoch's losses and rates are those of a CPU, to what the GPU's float32 keeps."""
    here = figures(CPU, optimizer, augment=augment)
    there = figures(GPU, optimizer, augment=augment)
    assert here is not None
    assert there is not None
    assert there[0][0][0] == pytest.approx(here[0][0][0], rel=0.02)
    assert there[0][0][4] == here[0][0][4]


@pytest.mark.parametrize("recorded", [False, True])
def test_a_batch_too_large_for_the_gpu_goes_in_parts(recorded: bool) -> None:
    """torch's own allocator refuses; the losses stay those of the batch, with no norm in it."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(256, 3, 96, 96, generator=draw).to(GPU)
    targets = torch.randint(3, (256,), generator=draw).to(GPU)

    def losses(limited: bool) -> tuple[list[float], int]:
        torch.manual_seed(0)
        module = build(backbone="test_convnext", mode="finetune").to(GPU).train()
        optimizer = make_optimizer(module, recipe(learning_rate=0.001))
        eager = EagerStep(module, optimizer)
        step = RecordedStep(eager, module, optimizer, record_cuda_graph) if recorded else eager
        torch.cuda.empty_cache()
        if limited:
            total = torch.cuda.get_device_properties(GPU).total_memory
            room = torch.cuda.memory_allocated(GPU) + needed // 2
            torch.cuda.set_per_process_memory_fraction(room / total)
        try:
            found = [float(step(inputs, targets)[0]) for _ in range(3)]
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return found, eager.parts

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated(GPU)
    whole, parts = losses(limited=False)
    needed = torch.cuda.max_memory_allocated(GPU) - before
    assert parts == 1
    short, parts = losses(limited=True)
    assert parts > 1
    assert short == pytest.approx(whole, rel=1e-3)


def test_measured_cost_is_the_gpus() -> None:
    measured = measure_cost(request("resnet18", frozen=False), "cuda", training_batch_size=8)
    assert measured.device == torch.cuda.get_device_name(GPU)
    assert 0 < measured.latency_ms_median < 1000
    weights = 4 * 11_000_000  # ResNet-18 without its classifier
    assert weights < measured.inference_memory_bytes < measured.training_memory_bytes
    assert measured.training_memory_bytes > 3 * weights
    assert max(measured.throughput.values()) > measured.throughput[1]


def test_a_process_alone_trains_over_nccl_as_without_it(tmp_path: Path) -> None:
    """With DistributedDataParallel and SyncBatchNorm; NCCL refuses two processes on one GPU."""
    own = {"RANK": "0", "WORLD_SIZE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.nccl_child", str(tmp_path)],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["norms"] > 0
    assert found["together"] == pytest.approx(found["alone"], rel=1e-4)


def test_a_study_runs_on_the_gpu(tmp_path: Path) -> None:
    """From the command to the report, with its cost measured, two runs at a time."""
    study = TINY.replace("device: cpu", "device: cuda").replace("measure: false", "measure: true")
    (tmp_path / "tiny.yaml").write_text(study)
    done = run_bench(tmp_path, "run", "--all", "-c", "tiny.yaml", "--workers", "2")
    assert done.code == 0, done.err[-3000:]
    name = torch.cuda.get_device_name(GPU)
    records = list(tmp_path.glob("mlruns/runs/*/*/record.json"))
    assert len(records) == 2
    assert name in records[0].read_text()
    told = run_bench(tmp_path, "report", "-c", "tiny.yaml", "-o", "report.md")
    assert told.code == 0, told.err[-3000:]
    assert name in (tmp_path / "report.md").read_text()


def test_more_processes_than_gpus_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("device: cpu", "device: cuda"))
    more = torch.cuda.device_count() + 1
    done = run_bench(tmp_path, "run", "--all", "-c", "tiny.yaml", "--gpus-per-run", str(more))
    assert done.code == 2
    assert f"GPUs found for device: cuda: {more - 1};" in done.err
