"""Shareable parts of a run: settings and results without paths, tags and passwords.

Every figure stays, and so does the run_id. A run and its shared copy are the same run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmark.config.credentials import HIDDEN, without_password
from benchmark.runs import run_folder as files
from benchmark.runs.record import RunRecord
from benchmark.runs.spec import RunSpec
from clothclf.settings import DataSettings

SHARED_FILES = (files.MANIFEST, files.PREDICTIONS, files.VALID_PREDICTIONS)
"""Result files that are shared: tables of ids, labels and probabilities, without images."""
DATA_PATH = Path("data")
"""Replaces `data.path`, which the fingerprint makes superfluous."""
WEIGHTS_FILE = "file"
"""Replaces the path in `model.weights`; `weights` has the name and hash of the file."""
NO_PATH = "…"
"""Replaces absolute paths in texts such as errors."""

_PATH = re.compile(
    r"(?<![\w./\\-])(?:file://)?(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"(),;:]+[/\\]+)+[^\s'\"(),;:]*"
)
_SECRET = re.compile(r"pass|pwd|token|secret|credential|key|user", re.IGNORECASE)


def shareable_data(data: DataSettings) -> DataSettings:
    """Return the settings of the data with file names for paths, and without secret options."""
    values = data.model_dump(mode="json")
    for key in ("exclude", "corrections"):
        if values[key] is not None:
            values[key] = Path(values[key]).name
    values["path"] = None if data.path is None else str(DATA_PATH)
    values["options"] = {
        key: HIDDEN if _SECRET.search(key) else value for key, value in data.options.items()
    }
    return DataSettings.model_validate_json(json.dumps(_shareable(values)))


def shareable_spec(spec: RunSpec) -> RunSpec:
    """Return the spec without paths and tags; its run_id is the same."""
    shared = {"study", "architecture", "data_summary", "tags"}
    values = spec.model_dump(mode="json")
    values |= _shareable({key: value for key, value in values.items() if key not in shared})
    values["data"] = shareable_data(spec.data).model_dump(mode="json")
    values["weights"]["path"] = None
    if spec.model.weights not in ("auto", "pretrained", "none"):
        values["model"]["weights"] = WEIGHTS_FILE
    for teacher in values["teachers"]:
        teacher["folder"] = teacher["run_id"]
    values |= {"pixels": "pixels.npy", "cache": "cache", "tags": {}}
    return RunSpec.model_validate_json(json.dumps(values))


def shareable_record(record: RunRecord) -> RunRecord:
    """Return the record without paths and tags, of the shared files only; idempotent."""
    values = _shareable(record.model_dump(mode="json", exclude={"spec", "files"}))
    values["check"] = ""
    values["spec"] = shareable_spec(record.spec).model_dump(mode="json")
    values["files"] = {name: record.files[name] for name in SHARED_FILES if name in record.files}
    return RunRecord.model_validate_json(json.dumps(values))


def _shareable(value: Any) -> Any:
    """Replace absolute paths and passwords in all texts of a JSON value."""
    if isinstance(value, str):
        return _PATH.sub(NO_PATH, without_password(value))
    if isinstance(value, dict):
        return {key: _shareable(item) for key, item in value.items()}
    return [_shareable(item) for item in value] if isinstance(value, list) else value
