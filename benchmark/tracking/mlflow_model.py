"""Write a run's model as an MLflow model with signature and input example, without pickle."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from benchmark.inference.restore import SavedModel
from benchmark.runs.record import RunRecord

ARTIFACT = "model"
"""Artifact folder of the model."""
DATA = "data"
"""Subfolder with the files that `benchmark.tracking.serving` reads."""
LOADER = "benchmark.tracking.serving"
SAVED = "model.json"
HISTORY_TAG = "mlflow.log-model.history"
"""Tag in which MLflow's UI finds the model of a run."""
EXAMPLE = "input_example.json"
SERVING_EXAMPLE = "serving_input_example.json"
REQUIRED = ("torch", "timm", "pillow", "numpy")
"""Packages in `requirements.txt`; MLflow warns at loading if the installed versions differ."""


def write_model(record: RunRecord, mlflow_id: str, folder: Path) -> dict[str, str]:
    """Write the MLflow model without its tensors to `folder`; return the tag for its run.

    The model defines no environment: it is served where bench is installed.
    """
    data = folder / DATA
    data.mkdir(parents=True)
    text = SavedModel.of(record).model_dump_json(indent=1)
    (data / SAVED).write_text(text + "\n", "utf-8")
    example = {"columns": ["image"], "data": [[_drawn(record.spec.image_size)]]}
    (folder / EXAMPLE).write_text(json.dumps(example), "utf-8")
    (folder / SERVING_EXAMPLE).write_text(json.dumps({"dataframe_split": example}), "utf-8")
    versions = record.environment.versions
    known = [f"{name}=={versions[name]}" for name in REQUIRED if name in versions]
    (folder / "requirements.txt").write_text("\n".join(known) + "\n", "utf-8")
    model = _described(record, mlflow_id)
    model.save(str(folder / "MLmodel"))
    return {HISTORY_TAG: json.dumps([model.get_tags_dict()])}


def _described(record: RunRecord, mlflow_id: str) -> Any:
    """Return MLflow's metadata of the model; deterministic for a run."""
    from mlflow.models import Model
    from mlflow.pyfunc import add_to_model

    example = {
        "artifact_path": EXAMPLE,
        "serving_input_path": SERVING_EXAMPLE,
        "type": "dataframe",
        "pandas_orient": "split",
    }
    model = Model(
        artifact_path=ARTIFACT,
        run_id=mlflow_id,
        utc_time_created=record.finished_at,
        model_uuid=f"{record.run_id:0>32}",
        signature=_signature(),
        saved_input_example_info=example,
        metadata={"architecture": record.spec.architecture, "study": record.spec.study},
    )
    add_to_model(model, loader_module=LOADER, data=DATA)
    return model


def _signature() -> Any:
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

    top = [Property("class", DataType.string), Property("probability", DataType.double)]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "class"),
                ColSpec(DataType.double, "probability"),
                ColSpec(Array(Object(top)), "top5"),
            ]
        ),
    )


def _drawn(size: int) -> str:
    """Return a drawn PNG in base64, so that the example contains no image of a data set."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (size, size), "white")
    edge = size // 4
    ImageDraw.Draw(image).rectangle((edge, edge, size - edge, size - edge), fill="steelblue")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
