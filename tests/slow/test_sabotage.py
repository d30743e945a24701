"""Deployed files that compute something else are found; honest ones are not accused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.deploy.accuracy import judge_variants, store_predictions
from benchmark.deploy.build_variant import BuildOptions, build_artifact, now
from benchmark.deploy.measure_variant import predict_with
from benchmark.deploy.measure_variant_child import SWAPPED_IMAGES
from benchmark.deploy.variants import VARIANTS, find_variant
from benchmark.export.model_card import INPUT, OUTPUT
from benchmark.runs.deployments import ARTIFACT, Artifact, Deployments, hashed
from benchmark.runs.find import FinishedRun, open_run
from benchmark.runs.inputs import open_splits
from benchmark.runs.run_folder import RunFolder, study_folders
from tests.benchmark.conftest import run_bench

onnx = pytest.importorskip("onnx")
pytest.importorskip("nncf")
pytestmark = pytest.mark.slow

STUDY = """\
study: drawn
data: {source: demo, image_size: 48, demo: {images_per_class: 60, seed: 0}}
architectures: [test_resnet, test_efficientnet]
model: {weights: none, mode: scratch}
train: {epochs: 12, batch_size: 32, optimizer: adamw, learning_rate: 0.003, patience: 12}
seeds: [0, 1]
device: cpu
measure: false
"""
HONEST = ("torch-bfloat16", "onnxruntime", "onnxruntime-int8", "openvino", "openvino-int8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    """Two architectures with two seeds, whose reference has been predicted."""
    folder = tmp_path_factory.mktemp("sabotage")
    (folder / "drawn.yaml").write_text(STUDY)
    done = run_bench(folder, "run", "--all", "-c", "drawn.yaml")
    assert done.code == 0, done.err
    result = [open_run(item.path) for item in study_folders(folder / "mlruns", "drawn")]
    for run in result:
        assert run.record.test.accuracy > 0.6
        deploy(run, build(run, "torch"))
    return result


def build(run: FinishedRun, variant: str) -> Artifact:
    return build_artifact(run, find_variant(variant), BuildOptions())


def deploy(run: FinishedRun, artifact: Artifact) -> str:
    """Predict the test images with an artifact, and return what is wrong with it."""
    test = open_splits(run.record.spec, run.folder, print)["test"]
    images = test.images(np.arange(len(test)))
    swapped = np.ascontiguousarray(images[:SWAPPED_IMAGES, ..., ::-1])
    both = predict_with(run, artifact, np.concatenate([images, swapped]), threads=1)
    store_predictions(run, artifact, test.ids, both[: len(images)], both[len(images) :])
    return judge_variants(run).variants[artifact.variant].problem


def sabotaged(
    run: FinishedRun, honest: Artifact, change: Callable[[Any], None]
) -> Iterator[Artifact]:
    """Yield a changed artifact in the place of an honest one, and remove it again."""
    deployments = Deployments(run.folder.path)
    unfinished = deployments.path / ".sabotaged"
    shutil.copytree(deployments.folder(honest), unfinished)
    for name in unfinished.iterdir():
        if name.suffix != ".onnx":
            shutil.rmtree(name) if name.is_dir() else name.unlink()
    model = onnx.load(unfinished / "model.onnx")
    change(model.graph)
    onnx.save(model, unfinished / "model.onnx")
    files, size = hashed(unfinished)
    update = {"files": files, "size_bytes": size, "built_at": now(), "check": ""}
    artifact = honest.model_copy(update=update)
    target = deployments.folder(artifact)
    unfinished.rename(target)
    RunFolder(target).write(ARTIFACT, artifact)
    try:
        yield artifact
    finally:
        shutil.rmtree(target)


def constants(graph: Any) -> dict[str, Any]:
    return {item.name: item for item in graph.initializer}


def change_constant(item: Any, change: Callable[[Any], Any]) -> None:
    changed = change(onnx.numpy_helper.to_array(item).copy()).astype(
        onnx.helper.tensor_dtype_to_np_dtype(item.data_type)
    )
    item.CopyFrom(onnx.numpy_helper.from_array(changed, item.name))


def normalization(graph: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the first nodes that subtract and multiply, with their constants."""
    known = constants(graph)
    for kind in ("Sub", "Mul"):
        node = next(node for node in graph.node if node.op_type == kind)
        yield node, next(known[name] for name in node.input if name in known)


def wrong_scales(graph: Any) -> None:
    """Scales of activations in int8, of the input in float32, are three times as large."""
    known = constants(graph)
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    for node in quantizers:
        change_constant(known[node.input[1]], lambda values: values * 3)
    if not quantizers:
        _, (_, scale) = normalization(graph)
        change_constant(scale, lambda values: values * 3)


def bgr(graph: Any) -> None:
    insert_gather(graph, INPUT, axis=3, order=[2, 1, 0], before=True)


def from_0_to_255(graph: Any) -> None:
    """Without normalization."""
    (_, mean), (_, scale) = normalization(graph)
    change_constant(mean, lambda values: values * 0)
    change_constant(scale, lambda values: values * 0 + 1)


def shuffled_classes(graph: Any) -> None:
    order = [3, 0, 1, 2, 7, 4, 5, 6, 10, 8, 9]
    insert_gather(graph, OUTPUT, axis=1, order=order, before=False)


def a_zeroed_layer(graph: Any) -> None:
    """The weights of a convolution in the middle."""
    known = constants(graph)
    makers = {name: node for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type == "Conv"]
    name = layers[len(layers) // 2].input[1]
    if name not in known:  # dequantized
        name = makers[name].input[0]
    change_constant(known[name], lambda values: values * 0)


def insert_gather(graph: Any, name: str, axis: int, order: list[int], before: bool) -> None:
    """Reorder an input or output of a graph along an axis."""
    inner = f"{name}_inner"
    for node in graph.node:
        for names in (node.input, node.output):
            for place, other in enumerate(names):
                if other == name:
                    names[place] = inner
    index = onnx.numpy_helper.from_array(np.array(order), f"{name}_order")
    graph.initializer.append(index)
    ends = (name, inner) if before else (inner, name)
    gather = onnx.helper.make_node("Gather", [ends[0], index.name], [ends[1]], axis=axis)
    if before:
        graph.node.insert(0, gather)
    else:
        graph.node.append(gather)


SABOTAGE = (wrong_scales, bgr, from_0_to_255, shuffled_classes, a_zeroed_layer)
NAMED = {bgr: "BGR", shuffled_classes: "another order"}


def test_sabotage_is_found_in_20_of_20(runs: list[FinishedRun]) -> None:
    actual = {}
    for run in runs[::2]:  # one seed of each architecture
        for variant in ("onnxruntime", "onnxruntime-int8"):
            honest = build(run, variant)
            for change in SABOTAGE:
                for artifact in sabotaged(run, honest, change):
                    key = (run.record.spec.name, variant, change.__name__)
                    actual[key] = deploy(run, artifact)
    missed = [key for key, problem in actual.items() if not problem]
    assert len(actual) == 20
    assert not missed, actual
    for change, word in NAMED.items():
        result = [problem for key, problem in actual.items() if key[2] == change.__name__]
        assert all(word in problem for problem in result), actual


def test_honest_variants_are_accused_in_0_of_20(runs: list[FinishedRun]) -> None:
    result = {
        (run.record.spec.name, variant): deploy(run, build(run, variant))
        for run in runs
        for variant in HONEST
    }
    assert len(result) == 20
    assert not any(result.values()), result
    assert set(HONEST) <= set(VARIANTS)


def test_the_files_of_a_run_stay_where_they_are(runs: list[FinishedRun]) -> None:
    """Deploying changes nothing of the run itself."""
    for run in runs:
        assert run.folder.verified_record() == run.record
        assert Path(run.folder.path, "deploy").is_dir()
