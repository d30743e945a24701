"""Using the winner: images are named, models exported and registered, from a real study."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchmark
from benchmark.runs.run_folder import RunFolder, study_folders
from tests.benchmark.conftest import Bench, StudyRun, run_bench
from tests.benchmark.predicted_runs import calibrated_predictions


def a_run(study: StudyRun, architecture: str = "test_resnet") -> RunFolder:
    return next(
        folder
        for folder in study_folders(study.folder / "mlruns", "tiny")
        if folder.path.name.startswith(architecture)
    )


def image(study: StudyRun, name: str) -> Path:
    return next((study.folder / "mlruns/cache/demo").rglob(f"{name}.jpg"))


def test_files_are_answered_as_the_run_answered_them(tiny_study: StudyRun) -> None:
    predictions = calibrated_predictions(a_run(tiny_study)).head(5)
    paths = [str(image(tiny_study, name)) for name in predictions["id"]]
    done = run_bench(
        tiny_study.folder, "predict", *paths, "--run", "test_resnet-s0", "-c", "tiny.yaml",
        "--format", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert [item["class"] for item in result] == predictions["answer"].tolist()
    shares = predictions.filter(like="p/").max(axis=1)
    assert [item["probability"] for item in result] == pytest.approx(shares.tolist(), abs=1e-5)
    assert all(len(item["top5"]) == 5 for item in result)


def test_a_folder_gives_a_row_for_each_image_and_says_what_it_could_not_read(
    tiny_study: StudyRun, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    shutil.copy(next((tiny_study.folder / "mlruns/cache/demo").rglob("*.jpg")), tmp_path / "a.jpg")
    Image.new("RGBA", (90, 40), (9, 9, 9, 40)).save(tmp_path / "below/b.png")
    (tmp_path / "c.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image either")
    done = run_bench(tiny_study.folder, "predict", str(tmp_path), "-c", "tiny.yaml")
    assert done.code == 1
    assert "1 of 3 files could not be read" in done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [Path(row["file"]).name for row in rows] == ["a.jpg", "b.png", "c.jpg"]
    assert rows[0]["class_1"]
    assert rows[1]["class_5"]
    assert rows[2]["class_1"] == ""
    assert rows[2]["error"]


def test_without_a_name_it_is_the_pick_of_the_report(tiny_study: StudyRun) -> None:
    path = next((tiny_study.folder / "mlruns/cache/demo").rglob("*.jpg"))
    report = run_bench(tiny_study.folder, "report", "-c", "tiny.yaml", "--format", "json")
    done = run_bench(tiny_study.folder, "predict", str(path), "-c", "tiny.yaml")
    (taken,) = (line for line in done.err.splitlines() if line.startswith("predicted by"))
    name = taken.removeprefix("predicted by ").partition("-s0")[0]
    assert f'"{name}"' in report.out
    assert "the pick of study tiny" in taken


def test_an_onnx_file_needs_no_bench_to_predict_like_the_run(
    tiny_study: StudyRun, tmp_path: Path
) -> None:
    """Every test image, decoded, resized and fed to onnxruntime by what the file says."""
    import onnxruntime

    file = tmp_path / "model.onnx"
    done = run_bench(
        tiny_study.folder, "export", "--run", "test_resnet-s0", "-c", "tiny.yaml", "-o", str(file)
    )
    assert done.code == 0, done.err
    assert os.fsencode(Path(benchmark.__file__).parent) not in file.read_bytes()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["bench.json"])
    predictions = calibrated_predictions(a_run(tiny_study))
    size = (card["image_size"], card["image_size"])
    pixels = np.stack(
        [
            np.asarray(
                Image.open(image(tiny_study, name))
                .convert("RGB")
                .resize(size, Image.Resampling.BILINEAR)
            )
            for name in predictions["id"]
        ]
    )
    (result,) = session.run(["probabilities"], {"images": pixels})
    assert np.abs(result - predictions.filter(like="p/").to_numpy()).max() <= 1e-4
    assert [card["classes"][place] for place in result.argmax(1)] == predictions["answer"].tolist()
    (one,) = session.run(["probabilities"], {"images": pixels[:1]})
    assert one == pytest.approx(result[:1], abs=1e-6)


@pytest.mark.parametrize("form", ["torch", "torchscript"])
def test_torch_alone_opens_its_own_formats(tiny_study: StudyRun, tmp_path: Path, form: str) -> None:
    import torch

    file = tmp_path / "model"
    done = run_bench(
        tiny_study.folder, "export", "--run", "test_resnet-s0", "-c", "tiny.yaml",
        "--format", form, "-o", str(file),
    )  # fmt: skip
    assert done.code == 0, done.err
    extra = {"bench.json": ""}
    if form == "torch":
        model = torch.export.load(str(file), extra_files=extra).module()
    else:
        model = torch.jit.load(str(file), _extra_files=extra)
    card = json.loads(extra["bench.json"])
    probabilities = model(torch.zeros(3, 32, 32, 3, dtype=torch.uint8))
    assert probabilities.shape == (3, len(card["classes"]))
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".PT2"])
def test_the_suffix_chooses_the_format(tiny_study: StudyRun, tmp_path: Path, suffix: str) -> None:
    import torch

    file = tmp_path / f"model{suffix}"
    done = run_bench(
        tiny_study.folder, "export", "--run", "test_resnet-s0", "-c", "tiny.yaml",
        "-o", str(file), "--check", "2",
    )  # fmt: skip
    assert done.code == 0, done.err
    opened = torch.jit.load if suffix == ".pt" else torch.export.load
    assert opened(str(file)) is not None


def test_what_answers_otherwise_is_not_exported() -> None:
    from benchmark.errors import ExportError
    from benchmark.export.export import _compare

    expected = np.array([[0.6, 0.4], [0.50001, 0.49999]], dtype=np.float32)
    near = expected[:, ::-1][1:]
    assert _compare(expected[1:], near, "of them").largest_difference < 1e-4
    for wrong in (expected[:, ::-1], expected + 2e-4, expected * np.float32("nan")):
        with pytest.raises(ExportError, match="predictions of the exported model differ"):
            _compare(expected, wrong, "of them")


def test_a_run_is_registered_once(tiny_study: StudyRun, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder = tmp_path / "copy"
    shutil.copytree(tiny_study.folder, folder)
    command = ("register", "--run", "test_resnet-s0", "-c", "tiny.yaml", "--alias", "champion")
    first, second = (run_bench(folder, *command) for _ in range(2))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "version 1 of tiny is new" in first.out
    assert "version 1 of tiny already exists" in second.out
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlruns/mlflow.db")
    (version,) = client.search_model_versions("name = 'tiny'")
    assert version.tags["architecture"] == "test_resnet"
    assert client.get_model_version_by_alias("tiny", "champion").version == version.version


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "nowhere.jpg"), "nowhere.jpg: no such file or folder"),
        (("predict", "."), "contains no images"),
        (("predict", "tiny.yaml", "--run", "test_resnet-s9"), "has no run 'test_resnet-s9'"),
        (("export", "--run", "test_resnet-s0", "-o", "/proc/x.onnx"), "/proc/x.onnx: cannot be"),
        (("export", "--format", "caffe"), "'caffe' is not one of"),
        (("export", "-o", "x.tflite"), "use one of .onnx (onnx), .pt2 (torch), .pt (torchscript)"),
        (("export", "-o", "x.pt2", "--format", "onnx"), "use suffix .onnx, or remove"),
        (("register", "--name", "a/b"), "--name: 'a/b' is not a valid name"),
    ],
)
def test_bad_input_is_one_sentence(
    tiny_study: StudyRun, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    if arguments == ("predict", "."):
        arguments = ("predict", str(tmp_path))
    done = run_bench(tiny_study.folder, *arguments, "-c", "tiny.yaml")
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_damaged_model_is_not_used(tiny_study: StudyRun, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(a_run(tiny_study).path, copy)
    (copy / "model.safetensors").write_bytes(b"noise")
    path = next((tiny_study.folder / "mlruns/cache/demo").rglob("*.jpg"))
    done = run_bench(tiny_study.folder, "predict", str(path), "--run", str(copy))
    assert done.code == 2
    assert "model.safetensors: is missing or has changed" in done.err


def test_a_network_is_exported_as_it_is_deployed(bench: Bench, tmp_path: Path) -> None:
    """And answers as the run did: the export says so for every test image."""
    import torch

    done = bench("run", "mobileone_s0", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    file = tmp_path / "model.pt2"
    done = bench(
        "export", "--run", "mobileone_s0-s0", "-c", "tiny.yaml", "--format", "torch",
        "-o", str(file),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "re-parameterized" in done.err
    names = torch.export.load(str(file)).state_dict
    assert names
    assert not any("conv_kxk" in name for name in names)
