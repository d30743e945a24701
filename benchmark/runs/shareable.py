"""Shareable parts of a run: settings and results without paths, tags and passwords.

Every figure stays, and so does the run_id. A run and its shared copy are the same run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

from benchmark.config.credentials import HIDDEN, without_password
from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure, Rejection, RunRecord
from benchmark.runs.spec import RunSpec
from clothclf.settings import DataSettings, Settings

SHARED_FILES = (files.MANIFEST, files.PREDICTIONS, files.VALID_PREDICTIONS)
"""Result files that are shared: tables of ids, labels and probabilities, without images."""
DATA_PATH = Path("data")
"""Replaces `data.path`, which the fingerprint makes superfluous."""
WEIGHTS_FILE = "file"
"""Replaces the path in `model.weights`; `weights` has the name and hash of the file."""
NO_PATH = "…"
"""Replaces absolute paths in texts such as errors."""

MAX_REASON = 2000
"""Maximum length of the reason of a failure in characters."""

_Stored = TypeVar("_Stored", bound=Settings)
_PATH = re.compile(
    r"(?<![\w./\\-])(?:file://)?(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"(),;:]+[/\\]+)+[^\s'\"(),;:]*"
)
_SECRET = re.compile(r"pass|pwd|token|secret|credential|key|user", re.IGNORECASE)


def shareable(value: _Stored) -> _Stored:
    """Return a stored result without what is private; idempotent.

    A record loses paths, tags and files that are not shared; a failure or rejection loses paths,
    tags and the run's output; another result loses the paths and passwords in its texts.
    """
    return type(value).model_validate_json(json.dumps(_shareable_values(value)))


def is_shareable(value: Settings) -> bool:
    """Return whether `shareable` changes nothing, the checksum of the file aside."""
    return _shareable_values(value) == {**value.model_dump(mode="json"), "check": ""}


def shareable_data(data: DataSettings) -> DataSettings:
    """Return the settings of the data with file names for paths, and without secret options."""
    return DataSettings.model_validate_json(json.dumps(_shareable_data(data)))


def _shareable_values(value: Settings) -> dict[str, Any]:
    """JSON values of a stored result without what is private."""
    if not isinstance(value, (RunRecord, Failure, Rejection)):
        return {**_without_secrets(value.model_dump(mode="json")), "check": ""}
    exclude = {"spec", "files"}
    values: dict[str, Any] = _without_secrets(value.model_dump(mode="json", exclude=exclude))
    values |= {"check": "", "spec": _shareable_spec(value.spec)}
    if isinstance(value, RunRecord):
        values["files"] = {name: value.files[name] for name in SHARED_FILES if name in value.files}
    else:
        values["reason"] = values["reason"][:MAX_REASON]
    if "log_tail" in values:
        values["log_tail"] = ""
    return values


def _shareable_spec(spec: RunSpec) -> dict[str, Any]:
    """JSON values of the spec without paths and tags; its run_id is the same."""
    shared = {"study", "architecture", "data_summary", "tags"}
    values = spec.model_dump(mode="json")
    values |= _without_secrets({key: value for key, value in values.items() if key not in shared})
    values["data"] = _shareable_data(spec.data)
    values["weights"]["path"] = None
    if spec.model.weights not in ("auto", "pretrained", "none"):
        values["model"]["weights"] = WEIGHTS_FILE
    for teacher in values["teachers"]:
        teacher["folder"] = teacher["run_id"]
    return values | {"pixels": "pixels.npy", "cache": "cache", "tags": {}}


def _shareable_data(data: DataSettings) -> dict[str, Any]:
    values: dict[str, Any] = data.model_dump(mode="json")
    for key in ("exclude", "corrections"):
        if values[key] is not None:
            values[key] = Path(values[key]).name
    values["path"] = None if data.path is None else str(DATA_PATH)
    values["options"] = {
        key: HIDDEN if _SECRET.search(key) else value for key, value in data.options.items()
    }
    return {key: _without_secrets(value) for key, value in values.items()}


def _without_secrets(value: Any) -> Any:
    """Replace absolute paths and passwords in all texts of a JSON value."""
    if isinstance(value, str):
        return _PATH.sub(NO_PATH, without_password(value))
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
