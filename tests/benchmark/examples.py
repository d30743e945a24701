"""Specs and records made by hand, for tests of what is computed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.runs.record import Environment, RunRecord
from benchmark.runs.spec import RunSpec
from clothclf.results import (
    ClassResult,
    Cost,
    CounterResult,
    DataSummary,
    EpochResult,
    Evaluation,
    MeasuredCost,
    TrainingResult,
    Weights,
)
from clothclf.settings import DataSettings, HeadSettings, ModelSettings, TrainSettings

DATA = DataSummary(
    title="demo",
    synthetic=True,
    fingerprint="f" * 16,
    classes=("a", "b"),
    images={"train": 64, "valid": 16, "test": 20},
    images_per_class={"a": 50, "b": 50},
    rows_read=100,
    dropped={},
    repaired={},
    exact_duplicate_groups=0,
    exact_duplicate_images=0,
    label_conflicts=0,
    exact_duplicates_across_splits=0,
)


def make_spec(architecture: str = "vgg16", seed: int = 0, **changes: Any) -> RunSpec:
    values: dict[str, Any] = {
        "study": "s",
        "architecture": architecture,
        "head": HeadSettings(),
        "seed": seed,
        "data": DataSettings(),
        "data_summary": DATA,
        "model": ModelSettings(),
        "train": TrainSettings(),
        "weights": Weights("random", "random", "", None),
        "device": "cpu",
        "pixels": Path("pixels.npy"),
        "cache": Path("cache"),
        "precision": "float32",
        "save_weights": "trained",
        "measure": False,
    }
    return RunSpec(**{**values, **changes})


def make_cost(architecture: str, macs: int, flopth: int | None = None) -> Cost:
    def counter(count: int | None) -> CounterResult:
        return CounterResult(count, {}, {}, {}, "")

    return Cost(
        architecture=architecture,
        image_size=112,
        classes=2,
        params=macs // 100,
        trainable_params=10,
        weight_bytes=4 * (macs // 100),
        activations=None,
        macs=macs,
        counters={
            "torch": counter(macs),
            "fvcore": counter(macs),
            "flopth": counter(macs if flopth is None else flopth),
        },
        verdicts={"flopth": "agreed", "fvcore": "agreed"},
        reason="",
        receptive_field=None,
    )


def make_measured(latency_ms: float = 5.0, busy: str = "") -> MeasuredCost:
    return MeasuredCost(
        device="cpu",
        threads=2,
        precision="float32",
        image_size=112,
        latency_ms_median=latency_ms,
        latency_ms_p95=1.2 * latency_ms,
        latency_ms=(latency_ms,) * 3,
        throughput={1: 1000 / latency_ms, 4: 2000 / latency_ms},
        inference_memory_bytes=50 * 2**20,
        training_memory_bytes=300 * 2**20,
        training_batch_size=16,
        busy=busy,
    )


def make_record(
    spec: RunSpec, accuracy: float, macs: int | None = None, measured: MeasuredCost | None = None
) -> RunRecord:
    epoch = EpochResult(1, 0.5, 0.8, 0.6, 0.75, 0.001, 1.0, 100.0)
    right = round(10 * accuracy)
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        cost=None if macs is None else make_cost(spec.architecture, macs),
        cost_error="" if macs is not None else "not tried",
        measured=measured,
        measured_error="",
        training=TrainingResult((epoch,), 1, False, "features", 2.0),
        test=Evaluation(
            images=20,
            metrics={"accuracy": accuracy, "macro_f1": accuracy, "loss": 0.5},
            per_class=(
                ClassResult("a", 10, accuracy, accuracy, accuracy),
                ClassResult("b", 10, accuracy, accuracy, accuracy),
            ),
            confusion=((right, 10 - right), (10 - right, right)),
        ),
        backbone_sha256="0" * 64,
        environment=Environment(
            bench="0",
            python="3",
            platform="p",
            processor="c",
            device="cpu",
            threads=2,
            versions={},
            git_commit="",
        ),
        stage_seconds={"train": 2.0},
        peak_memory_bytes=1,
        started_at="2024-01-01T00:00:00+00:00",
        finished_at="2024-01-01T00:01:00+00:00",
        files={},
    )
