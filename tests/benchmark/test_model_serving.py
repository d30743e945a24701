"""A run's model as MLflow loads it: the run's own answers, from images of strangers too."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.inference.restore import SavedModel, restore
from benchmark.runs.run_folder import RunFolder, study_folders
from clothclf.errors import WeightsError
from tests.benchmark.conftest import Bench, StudyRun, run_bench
from tests.benchmark.predicted_runs import calibrated_predictions
from tests.benchmark.test_tracking import runs_of
from tests.faults.hostile_images import scans


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_images(folder: Path, run: RunFolder) -> tuple[list[str], pd.DataFrame]:
    """The test split's encoded images, and what the run answered to them."""
    predictions = calibrated_predictions(run)
    images = next((folder / "mlruns" / "cache" / "demo").iterdir()) / "images"
    return [
        encoded((images / f"{name}.jpg").read_bytes()) for name in predictions["id"]
    ], predictions


test_images.__test__ = False  # type: ignore[attr-defined]


def loaded_models(folder: Path) -> dict[str, Any]:
    """Every run's logged model, by run_id, loaded as MLflow does it."""
    import mlflow.pyfunc

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow 3.13 creates a store in the current folder
        return {
            run.data.tags["bench.run_id"]: mlflow.pyfunc.load_model(
                f"{run.info.artifact_uri}/model"
            )
            for run in runs_of(folder)
        }


def assert_same_answers(table: pd.DataFrame, answers: pd.DataFrame) -> None:
    assert table["class"].tolist() == answers["answer"].tolist()
    for top, (_, row) in zip(table["top5"], answers.iterrows(), strict=True):
        assert len(top) == 5
        shares = sorted((row[name] for name in answers if name.startswith("p/")), reverse=True)
        assert [entry["probability"] for entry in top] == pytest.approx(shares[:5], abs=1e-5)
        for entry in top:
            assert entry["probability"] == pytest.approx(row[f"p/{entry['class']}"], abs=1e-5)


@pytest.fixture(scope="module")
def models(tiny_study: StudyRun) -> dict[str, Any]:
    return loaded_models(tiny_study.folder)


@pytest.fixture
def model(models: dict[str, Any]) -> Any:
    return next(iter(models.values()))


def test_a_logged_model_predicts_like_the_run(tiny_study: StudyRun, models: dict[str, Any]) -> None:
    """Frozen bodies, drawn from the seed: only the head is saved."""
    for folder in study_folders(tiny_study.folder / "mlruns", "tiny"):
        spec = folder.spec()
        assert spec is not None
        images, predictions = test_images(tiny_study.folder, folder)
        table = models[spec.run_id].predict(pd.DataFrame({"image": images}))
        assert_same_answers(table, predictions)
        assert table["probability"].tolist() == [top[0]["probability"] for top in table["top5"]]


def test_a_model_has_signature_and_example_and_no_pickle(
    tiny_study: StudyRun, models: dict[str, Any]
) -> None:
    for model in models.values():
        assert [column.name for column in model.metadata.signature.inputs] == ["image"]
        assert model.metadata.signature.outputs.input_names() == ["class", "probability", "top5"]
        (response,) = model.predict(model.input_example)["class"]
        assert isinstance(response, str)
    (run, *_) = runs_of(tiny_study.folder)
    place = Path(run.info.artifact_uri.removeprefix("file://")) / "model"
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert names == {
        *("MLmodel", "requirements.txt", "input_example.json", "serving_input_example.json"),
        *("data/model.json", "data/model.safetensors"),
    }


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("not base64!", "image 1: is not base64"),
        (encoded(b"GIF89a, almost"), "image 1: cannot be decoded"),
        (encoded(png(9000, 9000)), "9000 x 9000 pixels are too many"),
        ("A" * (45 * 2**20), "image 1: is larger than 32 MiB"),
        ("", "image 1: cannot be decoded"),
        (encoded(scans(20_000)), "image takes too long to decode: it has over 100 scans"),
    ],
    ids=["text", "broken", "bomb", "long", "empty", "slow"],
)
def test_a_image_that_cannot_be_used_is_reported_in_words(
    model: Any, image: str, words: str
) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as caught:
        model.predict(pd.DataFrame({"image": [encoded(png(8, 8)), image]}))
    assert words in caught.value.message
    assert caught.value.get_http_status_code() == 400
    assert len(caught.value.message) < 300


def test_too_many_images_at_once_are_refused(model: Any) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="at most 256"):
        model.predict(pd.DataFrame({"image": [encoded(png(8, 8))] * 257}))


def test_base64_may_be_wrapped_and_any_size_and_mode_is_taken(model: Any) -> None:
    wrapped = base64.encodebytes(png(90, 40)).decode()
    assert "\n" in wrapped
    whole = model.predict(pd.DataFrame({"image": [wrapped, encoded(png(90, 40))]}))
    assert whole["probability"][0] == pytest.approx(whole["probability"][1], abs=1e-6)


STARTED = """\
study: tiny
data: {source: demo, image_size: 32, demo: {images_per_class: 10, seed: 0}}
architectures: [test_resnet]
model: {weights: start.safetensors, mode: frozen, batch_norm: BATCH_NORM}
train: {epochs: 1, learning_rate: 0.01}
seeds: [0]
device: cpu
measure: false
"""


def save_start(path: Path, seed: int) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    save_file(timm.create_model("test_resnet").state_dict(), path)


def saved_of(folder: RunFolder) -> tuple[SavedModel, Path]:
    record = folder.record()
    assert record is not None
    return SavedModel.of(record), folder.path / "model.safetensors"


@pytest.mark.parametrize("batch_norm", ["fixed", pytest.param("drifting", marks=pytest.mark.slow)])
def test_a_backbone_from_a_file_is_loaded_again_and_checked(
    bench: Bench, tmp_path: Path, batch_norm: str
) -> None:
    """Where the file is gone or another one, it is said what to do."""
    (tmp_path / "tiny.yaml").write_text(STARTED.replace("BATCH_NORM", batch_norm))
    start = tmp_path / "start.safetensors"
    save_start(start, 1)
    weights = ("--set", f"model.weights={start}")
    assert bench("run", "--all", "-c", "tiny.yaml", *weights).code == 0
    (folder,) = study_folders(tmp_path / "mlruns", "tiny")
    (model,) = loaded_models(tmp_path).values()
    images, predictions = test_images(tmp_path, folder)
    assert_same_answers(model.predict(pd.DataFrame({"image": images})), predictions)
    save_start(start, 2)
    with pytest.raises(WeightsError, match=r"have changed in.*tracking\.weights=full"):
        restore(*saved_of(folder))
    start.unlink()
    with pytest.raises(WeightsError, match=r"are missing.*tracking\.weights=full"):
        restore(*saved_of(folder))


@pytest.mark.slow
def test_a_model_saved_in_full_needs_nothing_else(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STARTED.replace("BATCH_NORM", "fixed"))
    start = tmp_path / "start.safetensors"
    save_start(start, 1)
    settings = ("--set", f"model.weights={start}", "--set", "tracking.weights=full")
    assert bench("run", "--all", "-c", "tiny.yaml", *settings).code == 0
    (folder,) = study_folders(tmp_path / "mlruns", "tiny")
    images, predictions = test_images(tmp_path, folder)
    start.unlink()
    (model,) = loaded_models(tmp_path).values()
    assert_same_answers(model.predict(pd.DataFrame({"image": images})), predictions)


@pytest.mark.slow
def test_a_finetuned_model_needs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        STARTED.replace(", batch_norm: BATCH_NORM", "").replace("frozen", "finetune")
    )
    start = tmp_path / "start.safetensors"
    save_start(start, 1)
    done = run_bench(tmp_path, "run", "--all", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    start.unlink()
    (folder,) = study_folders(tmp_path / "mlruns", "tiny")
    images, predictions = test_images(tmp_path, folder)
    (model,) = loaded_models(tmp_path).values()
    assert_same_answers(model.predict(pd.DataFrame({"image": images})), predictions)


def test_a_backbone_that_comes_out_differently_is_refused(tiny_study: StudyRun) -> None:
    """As under another version of torch."""
    saved, tensors = saved_of(next(study_folders(tiny_study.folder / "mlruns", "tiny")))
    other = saved.model_copy(update={"backbone_sha256": "0" * 64})
    with pytest.raises(WeightsError, match=r"differs from the one.*tracking\.weights=full"):
        restore(other, tensors)


def test_tensors_that_were_altered_are_refused(tiny_study: StudyRun, tmp_path: Path) -> None:
    saved, tensors = saved_of(next(study_folders(tiny_study.folder / "mlruns", "tiny")))
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    altered = tmp_path / "model.safetensors"
    altered.write_bytes(content)
    with pytest.raises(WeightsError, match="has changed since run"):
        restore(saved, altered)
    assert np.isfinite([p.sum().item() for p in restore(saved, tensors).head.parameters()]).all()
