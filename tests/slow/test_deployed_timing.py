"""Latency of deployed files: a hand-written loop, and a kit in a bare environment on one core."""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.deploy.base import LoadContext
from benchmark.deploy.build_variant import BuildOptions, build_artifact
from benchmark.deploy.measure_variant_child import _in_turn
from benchmark.deploy.variants import find_variant
from benchmark.runs.deployments import Deployments
from benchmark.runs.find import FinishedRun, open_run
from benchmark.runs.run_folder import study_folders
from clothclf.cost.measure.effort import Effort, time_repeatedly
from tests.benchmark.conftest import StudyRun, run_bench

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.slow

ROUNDS = 41
PASSES = Effort(min_s=0, min_passes=20, max_s=5, max_passes=20)
PACKAGES = ("numpy", "onnxruntime")


@pytest.fixture(scope="module")
def study(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timed") / "study"
    shutil.copytree(tiny_study.folder, folder)
    return folder


def find(study: Path) -> FinishedRun:
    return next(
        open_run(folder.path)
        for folder in study_folders(study / "mlruns", "tiny")
        if folder.path.name.startswith("test_resnet")
    )


def by_hand(variant: str, folder: Path) -> Callable[[Any], Any]:
    """Load an artifact as the runtime's own documentation does."""
    if variant == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "model.onnx", options)
        return lambda image: session.run(None, {"images": image})
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", settings)
    request = compiled.create_infer_request()
    return lambda image: request.infer({"images": image}, share_inputs=True)[0]


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino"])
def test_our_latency_is_that_of_a_hand_written_loop(study: Path, variant: str) -> None:
    """Both alternate in one process, so that disturbances affect both."""
    run = find(study)
    artifact = build_artifact(run, find_variant(variant), BuildOptions())
    folder = Deployments(run.folder.path).folder(artifact)
    load = find_variant(variant).runtime().load
    predict = load(LoadContext(folder, run.folder.path, threads=1))
    infer = by_hand(variant, folder)
    size = run.record.spec.image_size
    images = np.random.default_rng(0).integers(0, 256, (8, 1, size, size, 3), dtype=np.uint8)
    turn = _in_turn([functools.partial(predict, image) for image in images])
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        ours += time_repeatedly(turn, PASSES)
        for number in range(PASSES.max_passes):
            image = images[number % len(images)]
            started = time.perf_counter()
            infer(image)
            theirs.append(time.perf_counter() - started)
    assert statistics.median(ours) / statistics.median(theirs) == pytest.approx(1, abs=0.05)


def test_a_kit_runs_in_a_bare_environment_on_one_core(study: Path, tmp_path: Path) -> None:
    """Its result is a second target of report, front and pick."""
    if shutil.which("taskset") is None:
        pytest.skip("needs taskset")
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    installed = subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=False)
    if installed.returncode:
        pytest.skip("needs a package index")
    actual = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert actual.returncode != 0
    done = run_bench(study, "deploy", "--all", "-c", "tiny.yaml", "--kit", "kit.zip")
    assert done.code == 0, done.err
    kit = [python, study / "kit.zip", "--name", "one core", "-o", study / "result.json"]
    subprocess.run(["taskset", "-c", "0", *kit], cwd=tmp_path, check=True, timeout=600)
    result = json.loads((study / "result.json").read_text())
    assert (result["device"]["cores"], result["device"]["threads"]) == (1, 1)
    skipped = {item["variant"] for item in result["results"] if "error" in item}
    assert skipped == {"openvino", "openvino-int8"}, "their library is not installed"
    added = run_bench(study, "deploy", "--add", "result.json", "-c", "tiny.yaml")
    assert added.code == 1, added.err
    report = run_bench(
        study, "report", "-c", "tiny.yaml", "--target", "one core", "--max-latency-ms", "1e6",
        "--front", "accuracy,latency", "--format", "json",
    )  # fmt: skip
    assert report.code == 0, report.err
    comparison = json.loads(report.out)["comparisons"][0]
    assert all(row["latency_ms_on_one core"] > 0 for row in comparison["rows"])
    assert comparison["pick"]
