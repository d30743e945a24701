"""Changes of a pack that `bench merge` must refuse, by name; hashes are valid where possible."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.runs import run_folder as files
from benchmark.runs.curve_results import CurvePoint
from benchmark.runs.run_folder import CHECK
from benchmark.sharing.pack_file import INDEX
from tests.benchmark.packed_study import Copy, member

Tamper = Callable[[Copy], bytes]
TAMPERED: dict[str, Tamper] = {}
"""Changes by name."""


def tampered(name: str) -> Callable[[Tamper], Tamper]:
    def added(function: Tamper) -> Tamper:
        TAMPERED[name] = function
        return function

    return added


def _figure(keys: str, value: Any) -> Tamper:
    """Set a figure of a record, with all hashes made valid."""
    *path, last = [int(key) if key.isdigit() else key for key in keys.split(".")]

    def change(values: dict[str, Any]) -> None:
        place: Any = values
        for key in path:
            place = place[key]
        assert not isinstance(place, dict) or place.get(last) != value
        place[last] = value

    return lambda copy: copy.edit(change).zipped()


for _keys, _value in {
    "test.metrics.accuracy": 0.99,
    "test.metrics.macro_f1": 0.99,
    "test.metrics.loss": 0.01,
    "test.metrics.auroc": 0.999,
    "test.metrics.novelty": 1.0,
    "test.images": 7,
    "test.confusion.0.0": 1000,
    "test.per_class.0.f1": 0.999,
    "test.per_class.0.label": "Nothing",
    "training.best_epoch": 1,
    "training.epochs.0.valid_loss": 0.0,
    "training.epochs": [],
    "cost.macs": 1,
    "cost.counters.torch.macs": 1,
    "cost.architecture": "vgg19",
    "measured.latency_ms_median": 0.001,
    "run_id": "0" * 12,
    "spec.seed": 77,
    "spec.architecture": "../../vgg16",
    "spec.train.learning_rate": 0.5,
    "spec.study": "../../../evil",
    "spec.pixels": "/etc/passwd",
    "spec.cache": "/root",
    "spec.tags": {"mlflow.user": "mallory"},
    "spec.data_summary.fingerprint": "0" * 16,
    "spec.data_summary.images.test": 1,
    "spec.data_summary.exact_duplicate_groups": 9,
    "spec.weights.path": "/etc/passwd",
    "spec.data.exclude": "/etc/passwd",
    "version": 5,
    "finished_at": "yesterday",
    "cost_error": "see /home/mallory/x",
    "files.model.safetensors": "0" * 64,
    "files.../../evil": "0" * 64,
    "peak_memory_bytes": "NaN",
}.items():
    if "files" in _keys:
        _name = _keys.partition(".")[2]
        TAMPERED[_keys] = lambda copy, name=_name, value=_value: copy.edit(  # type: ignore[misc]
            lambda values: values["files"].update({name: value})
        ).zipped()
    else:
        TAMPERED[_keys] = _figure(_keys, _value)


@tampered("NaN in a record")
def _nan(copy: Copy) -> bytes:
    return copy.edit(lambda values: values["test"]["metrics"].update(loss=float("nan"))).zipped()


@tampered("infinite time")
def _infinite(copy: Copy) -> bytes:
    name = copy.records[0]
    text = copy.members[name].decode()
    text = re.sub(r'"seconds": [\d.]+', '"seconds": 1e999', text, count=1)
    text = CHECK.sub('"check": ""', text, count=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    copy.members[name] = CHECK.sub(f'"check": "{digest}"', text, count=1).encode()
    return copy.zipped()


@tampered("repeated key")
def _repeated_key(copy: Copy) -> bytes:
    name = copy.records[0]
    text = copy.members[name].decode().rstrip().removesuffix("}")
    text = CHECK.sub('"check": ""', text + ', "run_id": "0"}', count=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    copy.members[name] = CHECK.sub(f'"check": "{digest}"', text, count=1).encode()
    return copy.zipped()


@tampered("two predictions swapped")
def _swapped(copy: Copy) -> bytes:
    def swap(table: pd.DataFrame) -> pd.DataFrame:
        first, last = 0, int(np.flatnonzero(table["label"] != table["label"].iloc[0])[0])
        shares = [name for name in table if name not in ("id", "label")]
        table.loc[[first, last], shares] = table.loc[[last, first], shares].to_numpy()
        return table

    return copy.edit_table(files.PREDICTIONS, swap).zipped()


def _changed_table(table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Tamper:
    return lambda copy: copy.edit_table(table, change).zipped()


def all_right(table: pd.DataFrame) -> pd.DataFrame:
    for name in table.columns[3:]:
        table[name] = (table["label"] == name.removeprefix("p/")).astype("float32")
    return table.assign(answer=table["label"])


def with_value(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[0, table.columns[3] if column == "p/" else column] = value
        return table

    return change


TAMPERED |= {
    "all predictions right": _changed_table(files.PREDICTIONS, all_right),
    "NaN in predictions": _changed_table(files.PREDICTIONS, with_value("p/", np.nan)),
    "infinity in predictions": _changed_table(files.PREDICTIONS, with_value("p/", np.inf)),
    "negative probability": _changed_table(files.PREDICTIONS, with_value("p/", -1.0)),
    "probabilities above 1": _changed_table(files.PREDICTIONS, with_value("p/", 2.0)),
    "another answer": _changed_table(files.PREDICTIONS, with_value("answer", "Nothing")),
    "another label": _changed_table(files.PREDICTIONS, with_value("label", "Nothing")),
    "another id": _changed_table(files.PREDICTIONS, with_value("id", "0")),
    "fewer predictions": _changed_table(files.PREDICTIONS, lambda table: table.iloc[1:]),
    "an image twice": _changed_table(
        files.PREDICTIONS, lambda table: pd.concat([table.iloc[:1], table.iloc[:-1]])
    ),
    "another column": _changed_table(files.PREDICTIONS, lambda table: table.assign(path="/home")),
    "relabelled manifest": _changed_table(
        files.MANIFEST, lambda table: table.assign(label=table["label"].iloc[::-1].to_numpy())
    ),
    "moved to another split": _changed_table(files.MANIFEST, with_value("split", "train")),
    "no label in the manifest": _changed_table(files.MANIFEST, with_value("label", None)),
    "manifest with images": _changed_table(
        files.MANIFEST, lambda table: table.assign(image=b"JPEG")
    ),
    "one long text in every row": _changed_table(
        files.MANIFEST, lambda table: table.assign(pixel_hash="x" * 2**20)
    ),
}


@tampered("predictions of another run")
def _of_another(copy: Copy) -> bytes:
    other = copy.values(copy.records[1])["files"][files.PREDICTIONS]
    own = copy.values(copy.records[0])["files"][files.PREDICTIONS]
    copy.edit(lambda values: values["files"].update({files.PREDICTIONS: other}))
    del copy.members[member(own)]
    return copy.zipped()


@tampered("no predictions")
def _no_predictions(copy: Copy) -> bytes:
    own = copy.values(copy.records[0])["files"][files.PREDICTIONS]
    copy.edit(lambda values: values["files"].pop(files.PREDICTIONS))
    del copy.members[member(own)]
    return copy.zipped()


@tampered("table that is no parquet")
def _no_parquet(copy: Copy) -> bytes:
    own = copy.values(copy.records[0])["files"][files.PREDICTIONS]
    content = b"PAR1" + b"\0" * 100 + b"PAR1"
    sha256 = hashlib.sha256(content).hexdigest()
    copy.edit(lambda values: values["files"].update({files.PREDICTIONS: sha256}))
    del copy.members[member(own)]
    copy.members[member(sha256)] = content
    return copy.zipped()


@tampered("check of the record not renewed")
def _stale_check(copy: Copy) -> bytes:
    name = copy.records[0]
    copy.members[name] = copy.members[name].replace(
        b'"peak_memory_bytes": 1', b'"peak_memory_bytes": 2'
    )
    return copy.zipped()


def _unsealed(change: Callable[[Copy], None]) -> Tamper:
    def made(copy: Copy) -> bytes:
        change(copy)
        copy.seals = False
        return copy.zipped()

    return made


def _flip(copy: Copy) -> None:
    name = next(name for name in copy.members if name.startswith("tables/"))
    content = bytearray(copy.members[name])
    content[len(content) // 2] ^= 1
    copy.members[name] = bytes(content)


def _index_hash(copy: Copy) -> None:
    values = copy.values(INDEX)
    values["members"][copy.records[0]] = "0" * 64
    copy.members[INDEX] = json.dumps(values).encode()


TAMPERED |= {
    "flipped bit in a table": _unsealed(_flip),
    "another hash in the index": _unsealed(_index_hash),
    "no index": _unsealed(lambda copy: copy.members.pop(INDEX) and None),
    "index that is no JSON": _unsealed(lambda copy: copy.members.update({INDEX: b"{"})),
    "index that is a list": _unsealed(lambda copy: copy.members.update({INDEX: b"[]"})),
    "missing member": _unsealed(lambda copy: copy.members.pop(copy.records[0]) and None),
    "unlisted member": _unsealed(lambda copy: copy.members.update({"notes.txt": b"x"})),
}


def also(name: str, content: bytes = b"x") -> Tamper:
    def made(copy: Copy) -> bytes:
        copy.members[name] = content
        return copy.zipped()

    return made


def _index(**changes: Any) -> Tamper:
    def made(copy: Copy) -> bytes:
        copy.changes = changes
        return copy.zipped()

    return made


RUN = "runs/0123456789ab"
TAMPERED |= {
    "version 0": _index(version=0),
    "version 3": _index(version=3),
    "version true": _index(version=True),
    "no version": _index(version=None),
    "another format": _index(format="kit"),
    "more in the index": _index(author="/home/mallory"),
    "path out of the folder": also("../evil.json"),
    "path out of a run": also("runs/0123456789ab/../../../evil"),
    "absolute path": also("/tmp/evil"),
    "Windows path": also("C:\\evil"),
    "extra member of a run": also(f"{RUN}/curve/points.json", b"{}"),
    "extra table": also(member("0" * 64), b"PAR1"),
    "table under a false name": also(member(hashlib.sha256(b"y").hexdigest()), b"x"),
    "model": also(f"{RUN}/model.safetensors"),
    "audit of other data": also("audits/00000000.json", b"{}"),
    "folder": also("runs/"),
    "bomb": also(f"{RUN}/record.json", bytes(2**28 + 1)),
    "deep JSON": also(f"{RUN}/record.json", b"[" * 100_000),
    "not UTF-8": also(f"{RUN}/record.json", b"\xff"),
}


@tampered("member twice")
def _twice(copy: Copy) -> bytes:
    name = copy.records[0]
    with pytest.warns(UserWarning, match="Duplicate"):
        return copy.zipped(lambda archive: archive.writestr(name, copy.members[name]))


@tampered("symbolic link")
def _link(copy: Copy) -> bytes:
    name = copy.records[0]
    copy.members[name], content = b"/etc/passwd", copy.members.pop(name)
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    del copy.members[name]
    return copy.zipped(lambda archive: archive.writestr(info, content))


@tampered("comment")
def _comment(copy: Copy) -> bytes:
    return copy.zipped(lambda archive: setattr(archive, "comment", b"hello"))


@tampered("truncated")
def _truncated(copy: Copy) -> bytes:
    return copy.zipped()[:-30]


@tampered("not a zip")
def _no_zip(copy: Copy) -> bytes:
    return b"bench"


@tampered("no run")
def _no_run(copy: Copy) -> bytes:
    copy.members = {INDEX: copy.members[INDEX]}
    return copy.zipped()


@tampered("curve of another run")
def _curve(copy: Copy) -> bytes:
    name = next(name for name in copy.members if name.endswith("points.json"))
    return copy.edit(lambda values: values.update(run_id="0" * 12), name).zipped()


@tampered("last point of a curve")
def _last_point(copy: Copy) -> bytes:
    name = next(name for name in copy.members if name.endswith("points.json"))

    def all_right(values: dict[str, Any]) -> None:
        count = values["test_images"]
        values["points"][-1]["correct"] = CurvePoint.packed(np.ones(count, dtype=bool))

    return copy.edit(all_right, name).zipped()


@tampered("stress result of another condition")
def _stress(copy: Copy) -> bytes:
    name = next(name for name in copy.members if "/stress/" in name)
    return copy.edit(lambda values: values.update(severity=5), name).zipped()


@tampered("stress result of fewer images")
def _few(copy: Copy) -> bytes:
    name = next(name for name in copy.members if "/stress/" in name)
    return copy.edit(lambda values: values["predictions"].pop(), name).zipped()


@tampered("audit with another fingerprint")
def _audit(copy: Copy) -> bytes:
    name = next(name for name in copy.members if name.startswith("audits/"))
    return copy.edit(lambda values: values.update(fingerprint="0" * 16), name).zipped()
