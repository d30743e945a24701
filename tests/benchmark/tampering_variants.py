"""More changes of a pack: of deployed variants, and of runs without figures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmark.packed_study import Copy
from tests.benchmark.tampering import TAMPERED, Tamper, all_right, also, tampered, with_value


def _in_accuracies(keys: str, value: Any) -> Tamper:
    return _member("deploy/accuracy.json", keys, value)


def _member(part: str, keys: str, value: Any) -> Tamper:
    """Set a value of the first member whose name contains `part`, with all hashes made valid."""
    *path, last = keys.split(".")

    def change(values: dict[str, Any]) -> None:
        place: Any = values
        for key in path:
            place = place[int(key) if isinstance(place, list) else key]
        assert place.get(last, "") != value
        place[last] = value

    def made(copy: Copy) -> bytes:
        name = next(name for name in sorted(copy.members) if part in name)
        return copy.edit(change, name).zipped()

    return made


INT8 = "deploy/onnxruntime-int8/"
TAMPERED |= {
    f"variant: {key}": _in_accuracies(key, value)
    for key, value in {
        "accuracy": 0.99,
        "images": 7,
        "reference": "0" * 64,
        "run_id": "0" * 12,
        **{
            f"variants.onnxruntime-int8.{name}": value
            for name, value in {
                "accuracy": 0.99,
                "macro_f1": 0.99,
                "calibration_error": 0.0,
                "difference": 0.25,
                "low": 0.2,
                "high": 0.3,
                "mcnemar_p": 0.001,
                "only_run": 0,
                "only_variant": 9,
                "other_class": 0,
                "problem": "it is too slow",
                "predictions": "0" * 64,
                "artifact": "0" * 64,
            }.items()
        },
        "variants.openvino": {},
    }.items()
}
TAMPERED |= {
    "artifact of another run": _member(INT8, "run_id", "0" * 12),
    "artifact of another variant": _member(INT8, "variant", "openvino"),
    "artifact in another precision": _member(INT8, "precision", "float32"),
    "artifact compared with another": _member(INT8, "base", "torch"),
    "artifact with a path": _member(INT8, "title", "int8 of /home/mallory/model.onnx"),
    "artifact with a password": _member(INT8, "settings.x", "http://me:hunter2@host/"),
    "artifact of other files": _member(INT8, "files", {"model.bin": "0" * 64}),
    "artifact of no file": _member(INT8, "files", {}),
    "artifact without a time": _member(INT8, "built_at", "yesterday"),
    "negative size": _member(INT8, "size_bytes", -1),
    "failure of another run": _member("failure.json", "run_id", "0" * 12),
    "failure with a path": _member("failure.json", "reason", "no file /home/mallory/x"),
    "failure with a password": _member("failure.json", "reason", "http://me:hunter2@host/ failed"),
    "failure with output": _member("failure.json", "log_tail", "Traceback"),
    "failure in a long text": _member("failure.json", "reason", "x" * 5000),
    "failure without a time": _member("failure.json", "at", "2024"),
    "failure with other settings": _member("failure.json", "spec.seed", 77),
    "failure of other images": _member("failure.json", "spec.data_summary.images.test", 1),
    "failure in another study": _member("failure.json", "spec.study", "../../evil"),
    "failure with tags": _member("failure.json", "spec.tags", {"user": "mallory"}),
    "failure with a cache": _member("failure.json", "spec.cache", "/root"),
    "failure in no stage": _member("failure.json", "stage", "somewhere"),
    "rejection with a path": _member("rejection.json", "reason", "see /home/mallory/x"),
    "rejection of another run": _member("rejection.json", "run_id", "0" * 12),
    "rejection with figures": _member("rejection.json", "test", {"accuracy": 0.99}),
}


def _variant_file(copy: Copy, variant: str, end: str) -> str:
    return next(name for name in copy.members if f"/{variant}/" in name and name.endswith(end))


def _timing(**changes: Any) -> Tamper:
    return lambda copy: copy.edit(
        lambda values: values.update(changes), _variant_file(copy, "torch", "devices/local.json")
    ).zipped()


TAMPERED |= {
    "latency that is negative": _timing(latency_ms=[-1.0]),
    "time of another run": _timing(run_id="0" * 12),
    "time of another artifact": _timing(artifact="0" * 64),
    "time of another variant": _timing(variant="openvino"),
    "time of no day": _timing(measured_at="yesterday"),
    "time with a path": _timing(runtime="torch in /home/mallory/lib"),
    "time of another device": _timing(
        device={"name": "x", "processor": "c", "system": "s", "cores": 2, "threads": 1}
    ),
}


def _variant_table(change: Callable[[pd.DataFrame], pd.DataFrame], sealed: bool = True) -> Tamper:
    """Change the predictions of int8, and the hash of them in the accuracies."""

    def made(copy: Copy) -> bytes:
        name = _variant_file(copy, "onnxruntime-int8", "predictions.parquet")
        content = io.BytesIO()
        change(pd.read_parquet(io.BytesIO(copy.members[name]))).to_parquet(content, index=False)
        copy.members[name] = content.getvalue()
        sha256 = hashlib.sha256(content.getvalue()).hexdigest()

        def listed(values: dict[str, Any]) -> None:
            if sealed:
                values["variants"]["onnxruntime-int8"]["predictions"] = sha256

        return copy.edit(listed, _variant_file(copy, "deploy", "accuracy.json")).zipped()

    return made


TAMPERED |= {
    "variant: all predictions right": _variant_table(all_right),
    "variant: other bytes": _variant_table(lambda table: table.iloc[::-1], sealed=False),
    "variant: NaN in predictions": _variant_table(with_value("p/", np.nan)),
    "variant: probabilities above 1": _variant_table(with_value("p/", 2.0)),
    "variant: another answer": _variant_table(with_value("answer", "Nothing")),
    "variant: another label": _variant_table(with_value("label", "Nothing")),
    "variant: another id": _variant_table(with_value("id", "0")),
    "variant: fewer predictions": _variant_table(lambda table: table.iloc[1:]),
    "variant: another column": _variant_table(lambda table: table.assign(path="/home")),
}


def _variant_content(end: str, content: Callable[[bytes], bytes | None]) -> Tamper:
    def made(copy: Copy) -> bytes:
        name = _variant_file(copy, "onnxruntime-int8", end)
        changed = content(copy.members.pop(name))
        if changed is not None:
            copy.members[name] = changed
        return copy.zipped()

    return made


def _npy(array: Any, **options: Any) -> Callable[[bytes], bytes]:
    def made(_: bytes) -> bytes:
        file = io.BytesIO()
        np.save(file, array, **options)
        return file.getvalue()

    return made


SWAPPED = "predictions_swapped.npy"
TAMPERED |= {
    "variant: no artifact": _variant_content("artifact.json", lambda content: None),
    "variant: no predictions": _variant_content("predictions.parquet", lambda content: None),
    "variant: no parquet": _variant_content("predictions.parquet", lambda content: b"PAR1" * 9),
    "variant: no swapped": _variant_content(SWAPPED, lambda content: None),
    "variant: truncated array": _variant_content(SWAPPED, lambda content: content[:-1]),
    "variant: array of objects": _variant_content(
        SWAPPED, _npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)
    ),
    "variant: array in another type": _variant_content(SWAPPED, _npy(np.ones((2, 3)))),
    "variant: array of no image": _variant_content(SWAPPED, _npy(np.ones((0, 10), np.float32))),
    "variant: array of a huge shape": _variant_content(
        SWAPPED, lambda content: content.replace(b"(128,", b"(9999999999,")
    ),
    "variant: model": also("runs/0123456789ab/deploy/torch/0123456789abcdef/model.onnx"),
    "variant: path": also("runs/0123456789ab/deploy/../x/artifact.json", b"{}"),
    "variant: hidden": also("runs/0123456789ab/deploy/.x/0123456789abcdef/artifact.json", b"{}"),
}  # fmt: skip


@tampered("variant: other swapped predictions")
def _other_swapped(copy: Copy) -> bytes:
    """As if int8 took images in BGR order, which would make it unusable."""
    name = _variant_file(copy, "onnxruntime-int8", SWAPPED)
    torch = _variant_file(copy, "torch", "predictions.parquet")
    table = pd.read_parquet(io.BytesIO(copy.members[torch])).sort_values("id", kind="stable")
    shares = table.filter(like="p/").to_numpy(dtype=np.float32)
    copy.members[name] = _npy(shares[: len(np.load(io.BytesIO(copy.members[name])))])(b"")
    return copy.zipped()


@tampered("failure beside a record")
def _beside_a_record(copy: Copy) -> bytes:
    failure = next(name for name in copy.members if name.endswith("failure.json"))
    copy.members[copy.records[0].replace("record", "failure")] = copy.members[failure]
    return copy.zipped()


@tampered("variants of a failed run")
def _variants_of_a_failure(copy: Copy) -> bytes:
    failure = next(name for name in copy.members if name.endswith("failure.json"))
    accuracy = next(name for name in copy.members if name.endswith("accuracy.json"))
    copy.members[failure.replace("failure", "deploy/accuracy")] = copy.members[accuracy]
    return copy.zipped()
