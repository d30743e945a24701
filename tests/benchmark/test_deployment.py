"""Deployed variants: built, measured, paired with the run, carried to another device and back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.config.study import load_study
from benchmark.deploy import kit_script
from benchmark.deploy.build_variant import BuildOptions, build_artifact
from benchmark.deploy.deploy import DeployedRun, calmest_of, is_steady
from benchmark.deploy.kit import drawn_images, pack
from benchmark.deploy.processor import instruction_note
from benchmark.deploy.variants import find_variant
from benchmark.errors import DeployError
from benchmark.report.deployed import fastest_usable, row_verdicts
from benchmark.report.next_steps import next_steps
from benchmark.report.write import read_report
from benchmark.runs.deployments import HERE, PREDICTIONS, Deployments
from benchmark.runs.find import FinishedRun, open_run
from benchmark.runs.inputs import open_splits
from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import Finished, StudyRun, environment, run_bench
from tests.benchmark.predicted_runs import calibrated_predictions

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytest.importorskip("nncf")

DEFAULT = ["onnxruntime", "onnxruntime-int8", "openvino", "openvino-int8", "torch"]


@dataclass(frozen=True)
class DeployedStudy:
    """A copy of the tiny study, one run of which has been deployed."""

    folder: Path
    done: Finished

    def bench(self, *arguments: str) -> Finished:
        return run_bench(self.folder, *arguments, "-c", "tiny.yaml")

    def run(self, architecture: str = "test_resnet") -> FinishedRun:
        return next(
            open_run(folder.path)
            for folder in study_folders(self.folder / "mlruns", "tiny")
            if folder.path.name.startswith(architecture)
        )


@pytest.fixture(scope="module")
def deployed(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> DeployedStudy:
    folder = tmp_path_factory.mktemp("deployed") / "study"
    shutil.copytree(tiny_study.folder, folder)
    done = run_bench(
        folder, "deploy", "--run", "test_resnet-s0", "-c", "tiny.yaml", "--threads", "1",
        "--kit", "kit.zip", "--format", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    study = DeployedStudy(folder, done)
    _as_on_an_idle_machine(study.run())
    return study


def _as_on_an_idle_machine(run: FinishedRun) -> None:
    """Figures of a busy machine, as one that runs tests is, are not ranked."""
    deployments = Deployments(run.folder.path)
    for item in deployments.all():
        deployments.write_timing(item.artifact, item.timing.model_copy(update={"busy": ""}))


@pytest.fixture
def study(deployed: DeployedStudy, tmp_path: Path) -> DeployedStudy:
    """A copy that a test may change."""
    folder = tmp_path / "study"
    shutil.copytree(deployed.folder, folder)
    return DeployedStudy(folder, deployed.done)


def variants_of(done: Finished) -> dict[str, dict[str, Any]]:
    (run,) = json.loads(done.out)["runs"]
    return {item["variant"]: item for item in run["variants"]}


def test_every_variant_is_measured_and_judged(deployed: DeployedStudy) -> None:
    result = variants_of(deployed.done)
    assert sorted(result) == DEFAULT
    for item in result.values():
        assert 0 < item["latency_ms_median"] <= item["latency_ms_p95"]
        assert item["latency_ms_low"] <= item["latency_ms_median"] <= item["latency_ms_high"]
        assert item["encoded_ms_median"] > item["latency_ms_low"]
        # The mean of the passes exceeds the percentile where one waits for other tests.
        assert item["images_per_second"] > 0.1e3 / item["latency_ms_p95"]
        assert item["load_s"] > 0
        assert item["memory_bytes"] > 2**20
        assert item["threads"] == 1
        assert item["sentence"].endswith(".")
    assert result["onnxruntime"]["size_bytes"] > result["onnxruntime-int8"]["size_bytes"]
    assert result["torch"]["memory_bytes"] > result["onnxruntime"]["memory_bytes"]


@pytest.mark.parametrize(
    ("latencies", "busy", "steady"),
    [
        ([2.0], "", False),
        ([2.0, 2.09], "", True),
        ([2.0, 2.2], "", False),
        ([3.0, 2.0, 2.05], "", True),
        ([3.0, 3.1, 2.0], "", False),
        ([2.0], "other processes used 1.0 of 2 cores", True),
    ],
)
def test_a_variant_is_timed_until_its_two_lowest_latencies_agree(
    deployed: DeployedStudy, latencies: list[float], busy: str, steady: bool
) -> None:
    first = next(iter(Deployments(deployed.run().folder.path).all())).timing
    timings = [
        first.model_copy(update={"latency_ms": (latency,) * 10, "busy": busy})
        for latency in latencies
    ]
    assert is_steady(timings) == steady
    assert calmest_of(timings).latency_ms_median == min(latencies)


def test_float32_variants_predict_as_the_run_did(deployed: DeployedStudy) -> None:
    """The class of every test image, and probabilities within rounding, temperature included."""
    run = deployed.run()
    expected = calibrated_predictions(run.folder).set_index("id")
    deployments = Deployments(run.folder.path)
    for variant in ("torch", "onnxruntime", "openvino"):
        (artifact,) = deployments.artifacts(variant)
        table = pd.read_parquet(deployments.folder(artifact) / PREDICTIONS).set_index("id")
        assert table["answer"].equals(expected.loc[table.index, "answer"])
        shares = table.filter(like="p/")
        assert np.abs(shares - expected.loc[table.index, shares.columns]).to_numpy().max() < 1e-4
        assert variants_of(deployed.done)[variant]["other_class"] == 0


def test_figures_of_int8_are_those_of_its_own_predictions(deployed: DeployedStudy) -> None:
    run = deployed.run()
    deployments = Deployments(run.folder.path)
    accuracies = deployments.accuracies()
    assert accuracies is not None
    for variant in ("onnxruntime-int8", "openvino-int8"):
        (artifact,) = deployments.artifacts(variant)
        table = pd.read_parquet(deployments.folder(artifact) / PREDICTIONS)
        own = variants_of(deployed.done)[variant]
        assert own["accuracy"] == pytest.approx((table["answer"] == table["label"]).mean())
        assert own["difference"] == pytest.approx(own["accuracy"] - accuracies.accuracy)
        assert own["difference_low"] <= own["difference"] <= own["difference_high"]
        float32 = calibrated_predictions(run.folder).set_index("id").loc[table["id"], "answer"]
        assert own["other_class"] == (table["answer"].to_numpy() != float32.to_numpy()).sum()


def test_int8_is_calibrated_on_training_images(deployed: DeployedStudy) -> None:
    """Per-channel weights in QDQ format, and preprocessing in float32."""
    import onnx

    deployments = Deployments(deployed.run().folder.path)
    (artifact,) = deployments.artifacts("onnxruntime-int8")
    graph = onnx.load(deployments.folder(artifact) / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QuantizeLinear") > 3
    assert "BatchNormalization" not in kinds
    names = ["images"]
    for kind in ("Cast", "Sub", "Mul"):
        following = {node.op_type: node for node in graph.node if names[-1] in node.input}
        names.append(following[kind].output[0])
    scales = {item.name: item for item in graph.initializer if item.name.endswith("_scale")}
    assert any(len(item.dims) == 1 and item.dims[0] > 1 for item in scales.values())


def test_files_are_built_once_and_again_if_they_are_damaged(study: DeployedStudy) -> None:
    run = study.run()
    deployments = Deployments(run.folder.path)
    (before,) = deployments.artifacts("onnxruntime")
    assert build_artifact(run, find_variant("onnxruntime"), BuildOptions()) == before
    file = deployments.folder(before) / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    after = build_artifact(run, find_variant("onnxruntime"), BuildOptions())
    assert after.sha256 == before.sha256
    assert deployments.is_whole(after)
    assert list(deployments.timings(after)), "measurements stay"


def test_a_report_shows_what_was_deployed(deployed: DeployedStudy) -> None:
    texts = {
        form: deployed.bench("report", "--format", form).out
        for form in ("md", "html", "json", "csv")
    }
    for form in ("md", "html"):
        assert "Deployed on local" in texts[form]
        assert "onnxruntime-int8" in texts[form]
    rows = {row["architecture"]: row for row in json.loads(texts["json"])["comparisons"][0]["rows"]}
    assert len(rows["test_resnet"]["deployed"]) == len(DEFAULT)
    assert rows["test_efficientnet"]["deployed"] == []
    assert rows["test_resnet"]["latency_ms_on_local"] > 0
    assert "latency_ms_on_local" in texts["csv"].splitlines()[0]


def test_merged_variants_are_reported_as_where_they_were_measured(
    deployed: DeployedStudy, tmp_path: Path
) -> None:
    shutil.copy(deployed.folder / "tiny.yaml", tmp_path)
    done = deployed.bench("pack", "-o", str(tmp_path / "a.bench"))
    assert done.code == 0, done.err
    done = run_bench(tmp_path, "merge", "a.bench", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    for form in ("md", "json"):
        own = deployed.bench("report", "--format", form).out
        assert run_bench(tmp_path, "report", "--format", form, "-c", "tiny.yaml").out == own
    assert "onnxruntime-int8" in own
    assert not list((tmp_path / "mlruns").rglob("model.*"))


def test_a_faster_variant_that_is_as_accurate_is_a_next_step(deployed: DeployedStudy) -> None:
    root = deployed.folder / "mlruns"
    study = load_study(deployed.folder / "tiny.yaml", [f"tracking.folder={root}"])
    (analysis,) = read_report(study).analyses
    row = next(row for row in analysis.rows if row.architecture == "test_resnet")
    best = fastest_usable(row_verdicts(analysis, analysis.rows.index(row)), HERE)
    steps = [step for step in next_steps(analysis, row) if step.section == "deployed"]
    if best is None or best.speed != "faster":
        assert steps == []
        return
    (step,) = steps
    assert step.text == f"Deploy {best.item.artifact.title}"
    assert "x faster than" in step.gain
    assert step.effort_text == f"none: {best.item.artifact.variant} is built"


def test_the_pick_uses_the_latency_of_a_device(deployed: DeployedStudy) -> None:
    """The other architecture was not measured there, so no limit can be met by it."""
    done = deployed.bench(
        "report", "--target", "local", "--cost", "price", "--price-per-hour", "0.4",
        "--prefer", "balance", "--max-latency-ms", "1e6", "--format", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    comparison = json.loads(done.out)["comparisons"][0]
    assert comparison["pick"]["trade_off"] == "test_resnet"
    (row,) = (row for row in comparison["rows"] if row["architecture"] == "test_resnet")
    usable = [item for item in row["deployed"] if item["variant"] == row["variant_on_local"]]
    expected = 0.4 * 1e6 / (3600 * usable[0]["images_per_second"])
    assert row["price_per_million"] == pytest.approx(expected)


def test_an_unknown_device_is_refused_with_those_known(deployed: DeployedStudy) -> None:
    done = deployed.bench("report", "--target", "laptop")
    assert done.code == 2
    assert "measured on: local" in done.err
    done = deployed.bench("report", "--cost", "price")
    assert done.code == 2
    assert "--price-per-hour" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variant", "onnxruntim"], "did you mean onnxruntime"),
        (["--device-name", "../x"], "at most 60 letters"),
        (["--run", "test_resnet-s0", "--all"], "give only one of"),
        (["--add", "missing.json"], "missing.json: cannot be read"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    deployed: DeployedStudy, arguments: list[str], said: str
) -> None:
    done = deployed.bench("deploy", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_run_without_its_weights_cannot_be_deployed(study: DeployedStudy) -> None:
    (study.run().folder.path / "model.safetensors").write_bytes(b"")
    done = study.bench("deploy", "--run", "test_resnet-s0")
    assert done.code == 2
    assert "is missing or has changed" in done.err


CUSTOM = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=4)

    def forward(self, images):
        maps = self.convolution(images)
        return torch.special.bessel_j0(maps).flatten(2).mean(2)


def make():
    return Network()
"""


@pytest.fixture(scope="module")
def unsuited(tmp_path_factory: pytest.TempPathFactory) -> DeployedStudy:
    """A run whose operator ONNX lacks, with too few training images to calibrate with."""
    folder = tmp_path_factory.mktemp("unsuited")
    (folder / "unsuited.py").write_text(CUSTOM)
    (folder / "tiny.yaml").write_text(
        "study: tiny\n"
        "data: {source: demo, image_size: 32, demo: {images_per_class: 5, seed: 0},\n"
        "       split: {train: 0.4, valid: 0.2, test: 0.4}}\n"
        "architectures: ['unsuited:make', test_resnet]\n"
        "model: {weights: none, mode: frozen}\n"
        "train: {epochs: 1}\nseeds: [0]\ndevice: cpu\nmeasure: false\n"
    )
    done = run_bench(folder, "run", "--all", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    return DeployedStudy(folder, done)


def test_an_operator_that_onnx_lacks_is_named_and_the_others_go_on(
    unsuited: DeployedStudy,
) -> None:
    done = unsuited.bench(
        "deploy", "--run", "unsuited:make-s0", "--threads", "1", "--format", "json"
    )
    assert done.code == 1, done.err
    (run,) = json.loads(done.out)["runs"]
    assert [item["variant"] for item in run["variants"]] == ["torch"]
    assert "bessel_j0 is not supported" in run["skipped"]["onnxruntime"]
    assert "bessel_j0 is not supported" in run["skipped"]["openvino-int8"]
    assert "Traceback" not in done.err


def test_too_few_images_to_calibrate_with_skip_int8_alone(unsuited: DeployedStudy) -> None:
    done = unsuited.bench(
        "deploy", "--run", "test_resnet-s0", "--variant", "onnxruntime-int8",
        "--variant", "onnxruntime", "--threads", "1", "--format", "json",
    )  # fmt: skip
    assert done.code == 1, done.err
    (run,) = json.loads(done.out)["runs"]
    assert sorted(item["variant"] for item in run["variants"]) == ["onnxruntime", "torch"]
    assert "needs at least 32 training images" in run["skipped"]["onnxruntime-int8"]


def test_a_missing_library_skips_its_variants(
    deployed: DeployedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nncf" else name)
    with pytest.raises(DeployError, match=r"nncf is not installed: pip install .*\[deploy\]"):
        build_artifact(deployed.run(), find_variant("openvino-int8"), BuildOptions())


def test_a_processor_without_the_instructions_is_noted(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx2\n")
    assert "no int8 dot products" in instruction_note("int8", info)
    assert "bfloat16" in instruction_note("bfloat16", info)
    assert instruction_note("float32", info) == ""
    info.write_text("flags\t\t: avx2 avx512_vnni avx512_bf16\n")
    assert instruction_note("int8", info) == instruction_note("bfloat16", info) == ""


# Kits


def run_kit(folder: Path, kit: Path, *arguments: str) -> Finished:
    """Run a kit where torch and bench cannot be imported."""
    hidden = folder / "hidden"
    for name in ("torch", "benchmark", "clothclf", "timm"):
        (hidden / name).mkdir(parents=True, exist_ok=True)
        (hidden / name / "__init__.py").write_text("raise ImportError('not on this device')")
    done = subprocess.run(
        [sys.executable, str(kit), *arguments],
        cwd=folder,
        env={**environment(), "PYTHONPATH": str(hidden)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def result(deployed: DeployedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the kit on another device: one core."""
    folder = tmp_path_factory.mktemp("device")
    done = run_kit(
        folder, deployed.folder / "kit.zip", "--name", "laptop", "--threads", "1", "-o", "r.json"
    )
    assert done.code == 0, done.err
    return folder / "r.json"


def test_the_script_of_a_kit_is_short_and_needs_numpy_and_a_runtime(
    deployed: DeployedStudy,
) -> None:
    with zipfile.ZipFile(deployed.folder / "kit.zip") as archive:
        script = archive.read("__main__.py").decode()
    assert len(script.splitlines()) <= 200
    imported = {
        line.split()[1].split(".")[0]
        for line in map(str.strip, script.splitlines())
        if line.startswith(("import ", "from "))
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "openvino", "PIL"}


@pytest.mark.parametrize(
    ("rounds", "steady", "best"),
    [
        ([], False, None),
        ([2.0], False, 0),
        ([2.0, 2.09], True, 0),
        ([3.0, 2.0], False, 1),
        ([None], True, 0),
        ([2.0, None], True, 0),
    ],
)
def test_a_kit_keeps_what_it_has_measured(
    rounds: list[float | None], steady: bool, best: int | None
) -> None:
    """An error in a later round, None here, replaces no figure and is not tried again."""
    result = [{"error": "killed"} if ms is None else {"latency_ms": [ms] * 10} for ms in rounds]
    assert kit_script.is_steady(result) == steady
    if best is not None:
        assert min(result, key=kit_script.latency) is result[best]


def test_a_result_becomes_a_second_device_of_report_and_pick(
    study: DeployedStudy, result: Path
) -> None:
    done = study.bench("deploy", "--add", str(result), "--format", "json")
    assert done.code == 0, done.err
    (run,) = json.loads(done.out)["runs"]
    assert {item["device"] for item in run["variants"]} == {"local", "laptop"}
    on_laptop = {item["variant"] for item in run["variants"] if item["device"] == "laptop"}
    assert on_laptop == set(DEFAULT) - {"torch"}
    stored = json.loads(result.read_text())["results"]
    for item in run["variants"]:
        if item["device"] == "laptop":
            (own,) = (each for each in stored if each["variant"] == item["variant"])
            assert item["latency_ms_median"] == pytest.approx(np.median(own["latency_ms"]))
            assert item["accuracy"] is not None
    report = study.bench("report", "--target", "laptop", "--max-latency-ms", "1e6")
    assert report.code == 0, report.err
    assert "Deployed on laptop" in report.out
    assert "Pick test_resnet" in report.out
    front = study.bench("report", "--target", "laptop", "--front", "accuracy,latency")
    assert "Pareto front" in front.out or "latency" in front.out


def nan(result: dict[str, Any]) -> None:
    result["results"][0]["latency_ms"][0] = float("nan")


def negative(result: dict[str, Any]) -> None:
    result["results"][0]["latency_ms"][0] = -1.0


def endless(result: dict[str, Any]) -> None:
    result["results"][0]["throughput"]["1"] = float("inf")


def other_artifact(result: dict[str, Any]) -> None:
    result["results"][0]["artifact"] = "0" * 64


def other_kit(result: dict[str, Any]) -> None:
    result["kit"] = "1" * 64


def other_run(result: dict[str, Any]) -> None:
    result["results"][0]["run_id"] = "../../etc"


def other_predictions(result: dict[str, Any]) -> None:
    rows = result["results"][0]["predictions"]
    result["results"][0]["predictions"] = [row[::-1] for row in rows]


def fewer_predictions(result: dict[str, Any]) -> None:
    del result["results"][0]["predictions"][3:]


def unknown_key(result: dict[str, Any]) -> None:
    result["results"][0]["latency"] = 1


def a_path_as_name(result: dict[str, Any]) -> None:
    result["device"]["name"] = "../../laptop"


def the_name_of_this_machine(result: dict[str, Any]) -> None:
    result["device"]["name"] = "local"


def nothing_measured(result: dict[str, Any]) -> None:
    for item in result["results"]:
        for key in ("load_s", "latency_ms"):
            item.pop(key)


TAMPERED: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (nan, "finite number"),
    (negative, "greater than 0"),
    (endless, "finite number"),
    (other_artifact, "the hash of its artifact is not that of the packed one"),
    (other_kit, "belongs to no kit that was packed"),
    (other_run, "run_id"),
    (other_predictions, "its predictions are not those of the artifact"),
    (fewer_predictions, "its predictions are not those of the artifact"),
    (unknown_key, "unknown key"),
    (a_path_as_name, "device.name"),
    (the_name_of_this_machine, "is the name of this machine"),
    (nothing_measured, "has neither an error nor all of its measurements"),
]


@pytest.mark.parametrize(
    ("change", "said"), TAMPERED, ids=[change.__name__ for change, _ in TAMPERED]
)
def test_a_tampered_result_is_refused_in_a_sentence(
    deployed: DeployedStudy,
    result: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    content = json.loads(result.read_text())
    change(content)
    path = tmp_path / "tampered.json"
    path.write_text(json.dumps(content))
    before = sorted(deployed.folder.rglob("*"))
    done = deployed.bench("deploy", "--add", str(path))
    assert done.code == 2
    (sentence,) = done.err.strip().splitlines()
    assert said in sentence
    assert sorted(deployed.folder.rglob("*")) == before, "nothing is stored"


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", "[" * 100_000])
def test_what_is_no_result_is_refused_in_a_sentence(
    deployed: DeployedStudy, tmp_path: Path, text: str
) -> None:
    (tmp_path / "r.json").write_text(text)
    done = deployed.bench("deploy", "--add", str(tmp_path / "r.json"))
    assert done.code == 2
    assert "is not a valid result of a kit" in done.err
    assert "Traceback" not in done.err


def repacked(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def flip_a_model(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("model.onnx"))
    members[name] = members[name][:-1] + b"\x00"


def flip_images(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("images.npy"))
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])


def drop_a_model(members: dict[str, bytes]) -> None:
    del members[next(name for name in members if name.endswith("model.xml"))]


def slip(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("model.onnx"))
    members["../../outside.onnx"] = members.pop(name)
    members["kit.json"] = members["kit.json"].replace(name.encode(), b"../../outside.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (flip_a_model, "has changed since the kit was packed"),
        (flip_images, "has changed since the kit was packed"),
        (drop_a_model, "cannot be read"),
        (slip, "is not a name of a file in a kit"),
    ],
)
def test_a_tampered_kit_is_refused_in_a_sentence(
    deployed: DeployedStudy,
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], None],
    said: str,
) -> None:
    kit = repacked(deployed.folder / "kit.zip", tmp_path / "kit.zip", change)
    done = run_kit(tmp_path, kit, "--name", "laptop")
    assert done.code == 1
    (sentence,) = done.err.strip().splitlines()
    assert sentence.startswith("kit: ")
    assert said in sentence
    assert not (tmp_path / "result.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"kit.zip", "hidden"}


def test_a_kit_has_no_image_of_the_data_unless_asked(
    deployed: DeployedStudy, study: DeployedStudy, tmp_path: Path
) -> None:
    def images(path: Path) -> np.ndarray[Any, Any]:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("images.npy"))
            (tmp_path / "images.npy").write_bytes(archive.read(name))
        return np.load(tmp_path / "images.npy")

    assert np.array_equal(images(deployed.folder / "kit.zip"), drawn_images(64, 32))
    run = study.run()
    deployments = Deployments(run.folder.path)
    accuracies = deployments.accuracies()
    assert accuracies is not None
    pack([DeployedRun(run, accuracies, deployments.all(), {})], tmp_path / "real.zip", "real")
    test = open_splits(run.record.spec, run.folder, print)["test"]
    assert np.array_equal(images(tmp_path / "real.zip"), test.images(np.arange(len(test))))


# Plug-ins and MLflow


PLUGIN = '''
import numpy as np


class Constant:
    """The class frequencies, whatever the image."""

    title = "constant"
    precision = "none"

    def build(self, context, folder):
        (folder / "classes.txt").write_text(context.card)

    def load(self, context):
        return lambda images: np.full((len(images), 11), 1 / 11, np.float32)

    def version(self):
        return "constant 1"


CONSTANT = Constant()
'''


PASSING = '''
import numpy as np

from clothclf.cost.measure.busy import BusyWatch


class Passing:
    """Loads once: the next process finds a truncated file."""

    title = "passing"
    precision = "none"

    def build(self, context, folder):
        np.save(folder / "rates.npy", np.full(11, 1 / 11, np.float32))

    def load(self, context):
        BusyWatch.describe = lambda self: ""  # as on an idle machine; else no round follows
        path = context.folder / "rates.npy"
        rates = np.load(path)
        path.write_bytes(path.read_bytes()[:-1])
        return lambda images: np.tile(rates, (len(images), 1))

    def version(self):
        return "passing 1"


PASSING = Passing()
'''


def install(package: Path, **variants: str) -> None:
    """Install a package with variants, each named like an object in its module."""
    (package / "own-1.dist-info").mkdir(parents=True)
    (package / "own-1.dist-info" / "METADATA").write_text("Name: own\nVersion: 1\n")
    entries = [f"{name} = {module}:{name.upper()}\n" for name, module in variants.items()]
    (package / "own-1.dist-info" / "entry_points.txt").write_text(
        "".join(["[bench.variants]\n", *entries])
    )


@pytest.fixture(scope="module")
def own(
    deployed: DeployedStudy, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Finished, dict[str, Any]]:
    """Variants of an installed package beside the reference, and what a file says of them."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(deployed.folder, folder / "study")
    install(folder / "site", constant="plugin", broken="plugin", passing="passing")
    (folder / "site" / "plugin.py").write_text(PLUGIN)
    (folder / "site" / "passing.py").write_text(PASSING)
    variables = {**environment(), "PYTHONPATH": os.pathsep.join([str(folder / "site"), *sys.path])}
    done = run_bench(
        folder / "study", "deploy", "--run", "test_resnet-s0", "-c", "tiny.yaml",
        "--variant", "constant", "--variant", "broken", "--variant", "passing",
        "--threads", "1", "-o", "own.json",
        variables=variables, forked=True,
    )  # fmt: skip
    (run,) = json.loads((folder / "study" / "own.json").read_text())["runs"]
    return done, run


def test_a_variant_that_fails_in_a_later_round_keeps_its_figures(
    own: tuple[Finished, dict[str, Any]],
) -> None:
    done, run = own
    assert done.err.count("measuring passing again") == 1
    assert "passing keeps its figures: ValueError" in done.err
    assert "passing" not in run["skipped"]
    (passing,) = (item for item in run["variants"] if item["variant"] == "passing")
    assert passing["latency_ms_median"] > 0
    assert passing["other_class"] > 0


def test_a_variant_of_ones_own_is_measured_and_judged(
    own: tuple[Finished, dict[str, Any]],
) -> None:
    done, run = own
    assert done.code == 1, done.err
    (constant,) = (item for item in run["variants"] if item["variant"] == "constant")
    assert constant["accuracy"] < 0.5
    assert constant["runtime"] == "constant 1"
    assert set(run["skipped"]) == {"broken"}
    assert "cannot be loaded" in run["skipped"]["broken"]


def test_variants_are_metrics_and_models_of_the_run_in_mlflow(
    study: DeployedStudy, result: Path
) -> None:
    from mlflow import MlflowClient

    done = study.bench("deploy", "--add", str(result), "--log")
    assert done.code == 0, done.err
    client = MlflowClient(tracking_uri=f"sqlite:///{study.folder / 'mlruns' / 'mlflow.db'}")
    (experiment,) = (item for item in client.search_experiments() if item.name == "tiny")
    runs = client.search_runs([experiment.experiment_id])
    run_id = study.run().record.run_id
    (logged,) = (run for run in runs if run.data.tags.get("bench.run_id") == run_id)
    own = variants_of(study.done)["onnxruntime-int8"]
    metrics = logged.data.metrics
    assert metrics["deploy/onnxruntime-int8/latency_ms"] == own["latency_ms_median"]
    assert metrics["deploy/onnxruntime-int8/accuracy"] == own["accuracy"]
    assert metrics["deploy/onnxruntime-int8/laptop/latency_ms"] > 0
    files = {item.path for item in client.list_artifacts(logged.info.run_id, "deploy/onnxruntime")}
    assert {"deploy/onnxruntime/MLmodel", "deploy/onnxruntime/model.onnx"} <= files
