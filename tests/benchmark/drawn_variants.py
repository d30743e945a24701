"""Deployed variants as `bench deploy` leaves them: the predictions are made up, no runtime runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmark.deploy.accuracy import judge_variants, store_predictions
from benchmark.deploy.kit_files import Expected, KitMeasurement, KitResult, PackedKit
from benchmark.deploy.measure_variant_child import SWAPPED_IMAGES
from benchmark.deploy.variants import VARIANTS
from benchmark.report.predictions import read_run, read_test_set
from benchmark.runs.deployments import (
    ARTIFACT,
    HERE,
    KITS,
    Artifact,
    Deployments,
    Device,
    Timing,
)
from benchmark.runs.find import FinishedRun
from benchmark.runs.run_folder import RunFolder, study_folders

NAMES = ("torch", "onnxruntime", "onnxruntime-int8")


def deploy(
    folder: RunFolder,
    names: tuple[str, ...] = NAMES,
    device: str = HERE,
    latency_ms: float = 2.0,
) -> None:
    """Write variants of a finished run; int8 predicts another class for some images."""
    record = folder.record()
    assert record is not None
    found, deployments = FinishedRun(folder, record), Deployments(folder.path)
    test = read_test_set(folder.path, record)
    own = read_run(folder.path, record, test).probabilities
    scores = np.log(np.maximum(own, 1e-7))
    rounded = np.exp(scores + np.random.default_rng(0).normal(0, 0.08 * scores.std(), own.shape))
    rounded = (rounded / rounded.sum(axis=1, keepdims=True)).astype(np.float32)
    for place, name in enumerate(names):
        precision = "int8" if name.endswith("int8") else "float32"
        shares = rounded if precision == "int8" else own
        artifact = Artifact(
            run_id=record.run_id,
            variant=name,
            title=f"{precision} in {name}",
            precision=precision,
            base=VARIANTS[name].base,
            settings={"format": "3"},
            files={"model.bin": hashlib.sha256(f"{name} {record.run_id}".encode()).hexdigest()},
            size_bytes=1000 * (place + 1),
            built_at=f"2024-01-01T00:00:0{place}+00:00",
        )
        deployments.folder(artifact).mkdir(parents=True, exist_ok=True)
        RunFolder(deployments.folder(artifact)).write(ARTIFACT, artifact)
        swapped = np.roll(shares[:SWAPPED_IMAGES], 2, axis=1)
        store_predictions(found, artifact, list(test.ids), shares, swapped)
        deployments.write_timing(
            artifact,
            Timing(
                run_id=record.run_id,
                variant=name,
                artifact=artifact.sha256,
                device=Device(name=device, processor="c", system="s", cores=2, threads=1),
                runtime=f"{name} 1",
                load_s=0.5,
                latency_ms=(latency_ms + place, latency_ms + place + 0.1, latency_ms + place + 0.3),
                throughput={1: 400.0, 8: 900.0},
                measured_at="2024-01-02T00:00:00+00:00",
            ),
        )
    judge_variants(found)


def write_measured(path: Path, root: Path) -> None:
    """Deploy a run of the tiny study, and write the result of its kit on another device."""
    folder = next(f for f in study_folders(root, "tiny") if f.path.name.startswith("test_resnet"))
    deploy(folder)
    record = folder.record()
    assert record is not None
    deployments = Deployments(folder.path)
    (artifact,) = deployments.artifacts("onnxruntime")
    kit, shares = "0" * 64, ((0.75, 0.25), (0.5, 0.5))
    expected = Expected(artifact=artifact.sha256, precision="float32", probabilities=shares)
    (deployments.path / KITS).mkdir()
    RunFolder(deployments.path / KITS).write(
        f"{kit}.json",
        PackedKit(
            kit=kit,
            run_id=record.run_id,
            encoded_image="JPEG",
            expected={artifact.variant: expected},
        ),
    )
    measurement = KitMeasurement(
        run_id=record.run_id,
        variant=artifact.variant,
        artifact=artifact.sha256,
        runtime="onnxruntime 1",
        load_s=0.5,
        memory_bytes=2**20,
        latency_ms=(2.0, 2.1, 2.3),
        throughput={1: 400.0},
        predictions=shares,
    )
    device = Device(name="laptop", processor="c", system="s", cores=2, threads=1)
    result = KitResult(version=1, kit=kit, device=device, results=(measurement,))
    path.write_text(result.model_dump_json())
