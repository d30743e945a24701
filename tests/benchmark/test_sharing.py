"""Packs of runs: what is in them, what is refused, and what a report of merged runs says."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.config.study import StudySettings, load_study
from benchmark.errors import PackError
from benchmark.report.analysis import analyse
from benchmark.report.formats import FORMATS
from benchmark.report.rows import make_rows
from benchmark.report.write import read_report
from benchmark.runs import run_folder as files
from benchmark.runs.audits import Audit, AuditHead, Suspect, find_audit, store_audit
from benchmark.runs.curve_results import CurveFile, CurvePoint, LearningCurve
from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import CHECK, RunFolder, study_folders
from benchmark.runs.shareable import shareable_record
from benchmark.runs.stress_results import StressResult, StressResults
from benchmark.sharing import pack_file
from benchmark.sharing.pack_file import INDEX
from benchmark.workflows.share_runs import merge_packs, pack_study
from tests.benchmark.conftest import TINY, StudyRun, environment, run_bench
from tests.benchmark.drawn_study import Made, make_study
from tests.conftest import draw_jpeg

NAMES = ("resnet18", "vgg16", "efficientnet_b0", "mobilenetv3_large_100")
FORMS = ("md", "csv", "json", "latex", "html")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A store of eight runs, two of them with results beside them, and an audit."""
    made = make_study(tmp_path_factory.mktemp("whole"), NAMES)
    for folder in list(study_folders(made.root, "s"))[:2]:
        record = folder.record()
        assert record is not None
        images = record.test.images
        table = pd.read_parquet(folder.path / files.PREDICTIONS).sort_values("id")
        right = (table["answer"] == table["label"]).to_numpy()
        points = (
            CurvePoint(share=0.5, draw=0, images=9, correct=CurvePoint.packed(right),
                       valid_accuracy=0.5, epochs=2, seconds=1.0),
            CurvePoint(share=1, draw=0, images=18, correct=CurvePoint.packed(right),
                       valid_accuracy=0.5, epochs=2, seconds=1.0),
        )  # fmt: skip
        CurveFile(folder.path, record.run_id).write(
            LearningCurve(run_id=record.run_id, test_images=images, points=points)
        )
        StressResults(folder.path, record.run_id, images).write(
            StressResult(
                run_id=record.run_id,
                corruption="gaussian_noise",
                severity=1,
                corruptions_version=1,
                predictions=(0,) * images,
            )
        )
    head = AuditHead(architecture="a", image_size=48, weights="none", weights_sha256="",
                     accuracy=0.5)  # fmt: skip
    data = record.spec.data_summary
    some = str(table["id"].iloc[0])
    suspect = Suspect(id=some, label=data.classes[0], suggested=data.classes[1], p_label=0.1,
                      p_suggested=0.8, split="test")  # fmt: skip
    audit = Audit(fingerprint=data.fingerprint, title=data.title, heads=(head,), folds=2,
                  images=9, accuracy=0.5, suspects=(suspect,))  # fmt: skip
    store_audit(made.root, audit)
    return made


def at(made: Made, root: Path) -> StudySettings:
    """The study with another tracking folder."""
    tracking = made.study.tracking.model_copy(update={"folder": root})
    return made.study.model_copy(update={"tracking": tracking})


def store_of(made: Made, root: Path, places: Sequence[int]) -> StudySettings:
    """A store with some of the runs, as another person would have it."""
    folders = list(study_folders(made.root, "s"))
    for place in places:
        shutil.copytree(folders[place].path, root / "runs" / "s" / folders[place].path.name)
    shutil.copytree(made.root / "audits", root / "audits", dirs_exist_ok=True)
    return at(made, root)


def texts(study: StudySettings) -> dict[str, str]:
    report = read_report(study)
    return {form: report.text(form, images=False) for form in FORMS}


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".locks" not in path.parts
    }


@pytest.fixture(scope="module")
def packed(whole: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of three runs."""
    folder = tmp_path_factory.mktemp("packed")
    study = store_of(whole, folder / "store", (0, 1, 2))
    assert pack_study(study, folder / "s.bench").runs == 3
    return folder / "s.bench"


def test_six_stores_report_like_one_that_held_all_runs(whole: Made, tmp_path: Path) -> None:
    overlapping = [(0, 1, 2), (2, 3), (3, 4, 5), (5, 0), (6, 7, 1), (4, 6)]
    paths = []
    for number, places in enumerate(overlapping):
        study = store_of(whole, tmp_path / f"store{number}", places)
        paths.append(tmp_path / f"{number}.bench")
        assert pack_study(study, paths[-1]).runs == len(places)
    merged = merge_packs(at(whole, tmp_path / "merged"), paths)
    assert (len(merged.added), merged.known, merged.conflicts) == (8, 7, [])
    everything = texts(store_of(whole, tmp_path / "all", range(8)))
    for form, text in texts(at(whole, tmp_path / "merged")).items():
        assert text == everything[form], form
    assert "Learning curve" in everything["md"]


def test_merging_twice_changes_nothing(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = at(whole, tmp_path)
    merge_packs(study, [packed])
    before = contents(tmp_path)
    merged = merge_packs(study, [packed, packed])
    assert (merged.added, merged.known, merged.conflicts) == ([], 6, [])
    assert contents(tmp_path) == before


def test_a_pack_of_merged_runs_is_the_same_pack(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = at(whole, tmp_path)
    merge_packs(study, [packed])
    pack_study(study, tmp_path / "again.bench")
    assert (tmp_path / "again.bench").read_bytes() == packed.read_bytes()


def test_own_runs_stay_as_they_are(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = store_of(whole, tmp_path, range(8))
    before = contents(tmp_path)
    assert merge_packs(study, [packed]).known == 3
    assert contents(tmp_path) == before


def test_results_beside_a_known_run_are_added(whole: Made, packed: Path, tmp_path: Path) -> None:
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    shutil.rmtree(own.path / "curve")
    shutil.rmtree(own.path / "stress")
    shutil.rmtree(tmp_path / "audits")
    merge_packs(study, [packed])
    record = own.record()
    assert record is not None
    assert CurveFile(own.path, record.run_id).read() is not None
    assert len(StressResults(own.path, record.run_id, record.test.images).all()) == 1
    assert find_audit(tmp_path, record.spec.data_summary.fingerprint) is not None


@pytest.mark.parametrize("what", ["accuracy", "times"])
def test_a_conflict_is_shown_and_nothing_overwritten(
    what: str, whole: Made, packed: Path, tmp_path: Path
) -> None:
    study = store_of(whole, tmp_path, (0,))
    own = next(iter(study_folders(tmp_path, "s")))
    record = own.record()
    assert record is not None
    test = dataclasses.replace(record.test, metrics={**record.test.metrics, "accuracy": 0.25})
    changes = {"accuracy": {"test": test}, "times": {"finished_at": "2024-02-02T00:00:00+00:00"}}
    own.write(files.RECORD, record.model_copy(update=changes[what]))
    before = contents(own.path)
    merged = merge_packs(study, [packed])
    assert len(merged.added) == 2
    [conflict] = merged.conflicts
    assert str(packed) in conflict
    assert record.run_id in conflict
    assert ("25.00 % in the store" if what == "accuracy" else "finished_at") in conflict
    assert contents(own.path) == before


def test_packs_contradict_each_other(whole: Made, packed: Path, tmp_path: Path) -> None:
    def repeated(values: dict[str, Any]) -> None:
        values["peak_memory_bytes"] += 1

    (tmp_path / "other.bench").write_bytes(Copy(packed).edit(repeated).zipped())
    merged = merge_packs(at(whole, tmp_path), [packed, tmp_path / "other.bench"])
    [conflict] = merged.conflicts
    assert "the same test figures, but other values of peak_memory_bytes" in conflict


def test_rows_keep_measurements_of_different_processors_apart(whole: Made) -> None:
    comparison = whole.collection().comparisons[0]
    assert {row.measured.device for row in make_rows(comparison) if row.measured} == {"cpu"}
    other = comparison.records[0].environment.model_copy(update={"processor": "Other"})
    records = [
        record.model_copy(update={"environment": other})
        if record.spec.architecture == NAMES[0]
        else record
        for record in comparison.records
    ]
    both = dataclasses.replace(comparison, records=records)
    rows = make_rows(both)
    assert {row.measured.device for row in rows if row.measured} == {"cpu c", "cpu Other"}
    analysis = analyse(both, whole.root)
    text = FORMATS["md"].load()(whole.study, whole.collection(), [analysis])
    assert "### Measured on cpu Other, 2 threads, float32, 112 x 112 px" in text
    assert "Runs were trained on different devices, so their times differ. cpu Other: res" in text


class Copy:
    """The members of a pack, changed; `zipped` lists them in the index as they are."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.records = sorted(name for name in self.members if name.endswith("record.json"))
        self.changes: dict[str, Any] = {}
        self.seals = True

    def values(self, name: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.members[name])
        return values

    def store(self, name: str, values: dict[str, Any]) -> None:
        """Write JSON with a valid checksum."""
        text = CHECK.sub('"check": ""', json.dumps(values, indent=1), count=1)
        digest = hashlib.sha256(text.encode()).hexdigest()
        text = CHECK.sub(f'"check": "{digest}"', text, count=1)
        self.members[name] = text.encode()

    def edit(self, change: Callable[[dict[str, Any]], None], name: str = "") -> Copy:
        """Change a record, by default the first, with valid hashes."""
        name = name or self.records[0]
        values = self.values(name)
        change(values)
        self.store(name, values)
        return self

    def edit_table(self, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Copy:
        """Change a table of the first run, with valid hashes."""

        def listed(values: dict[str, Any]) -> None:
            frame = pd.read_parquet(io.BytesIO(self.members[member(values["files"][table])]))
            content = io.BytesIO()
            change(frame).to_parquet(content, index=False)
            sha256 = hashlib.sha256(content.getvalue()).hexdigest()
            self.members[member(sha256)] = content.getvalue()
            values["files"][table] = sha256

        self.edit(listed)
        used = {
            member(sha256)
            for name in self.records
            for sha256 in self.values(name)["files"].values()
        }
        for name in [name for name in self.members if name.startswith("tables/")]:
            if name not in used:
                del self.members[name]
        return self

    def zipped(self, also: Callable[[zipfile.ZipFile], None] = lambda archive: None) -> bytes:
        if self.seals:
            hashes = {
                name: hashlib.sha256(content).hexdigest()
                for name, content in self.members.items()
                if name != INDEX
            }
            index = {**self.values(INDEX), "members": hashes, **self.changes}
            self.members[INDEX] = json.dumps(index).encode()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.members.items():
                archive.writestr(name, content)
            also(archive)
        return file.getvalue()


def member(sha256: str) -> str:
    return f"tables/{sha256}.parquet"


Tamper = Callable[[Copy], bytes]
TAMPERED: dict[str, Tamper] = {}


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
    "version": 4,
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


def _all_right(table: pd.DataFrame) -> pd.DataFrame:
    for name in table.columns[3:]:
        table[name] = (table["label"] == name.removeprefix("p/")).astype("float32")
    return table.assign(answer=table["label"])


def _with(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[0, table.columns[3] if column == "p/" else column] = value
        return table

    return change


TAMPERED |= {
    "all predictions right": _changed_table(files.PREDICTIONS, _all_right),
    "NaN in predictions": _changed_table(files.PREDICTIONS, _with("p/", np.nan)),
    "infinity in predictions": _changed_table(files.PREDICTIONS, _with("p/", np.inf)),
    "negative probability": _changed_table(files.PREDICTIONS, _with("p/", -1.0)),
    "probabilities above 1": _changed_table(files.PREDICTIONS, _with("p/", 2.0)),
    "another answer": _changed_table(files.PREDICTIONS, _with("answer", "Nothing")),
    "another label": _changed_table(files.PREDICTIONS, _with("label", "Nothing")),
    "another id": _changed_table(files.PREDICTIONS, _with("id", "0")),
    "fewer predictions": _changed_table(files.PREDICTIONS, lambda table: table.iloc[1:]),
    "an image twice": _changed_table(
        files.PREDICTIONS, lambda table: pd.concat([table.iloc[:1], table.iloc[:-1]])
    ),
    "another column": _changed_table(files.PREDICTIONS, lambda table: table.assign(path="/home")),
    "relabelled manifest": _changed_table(
        files.MANIFEST, lambda table: table.assign(label=table["label"].iloc[::-1].to_numpy())
    ),
    "moved to another split": _changed_table(files.MANIFEST, _with("split", "train")),
    "no label in the manifest": _changed_table(files.MANIFEST, _with("label", None)),
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


def _also(name: str, content: bytes = b"x") -> Tamper:
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
    "version 2": _index(version=2),
    "version true": _index(version=True),
    "no version": _index(version=None),
    "another format": _index(format="kit"),
    "more in the index": _index(author="/home/mallory"),
    "path out of the folder": _also("../evil.json"),
    "path out of a run": _also("runs/0123456789ab/../../../evil"),
    "absolute path": _also("/tmp/evil"),
    "Windows path": _also("C:\\evil"),
    "extra member of a run": _also(f"{RUN}/curve/points.json", b"{}"),
    "extra table": _also(member("0" * 64), b"PAR1"),
    "table under a false name": _also(member(hashlib.sha256(b"y").hexdigest()), b"x"),
    "model": _also(f"{RUN}/model.safetensors"),
    "audit of other data": _also("audits/00000000.json", b"{}"),
    "folder": _also("runs/"),
    "bomb": _also(f"{RUN}/record.json", bytes(2**28 + 1)),
    "deep JSON": _also(f"{RUN}/record.json", b"[" * 100_000),
    "not UTF-8": _also(f"{RUN}/record.json", b"\xff"),
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


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_pack_is_refused(name: str, whole: Made, packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "tampered.bench"
    path.write_bytes(TAMPERED[name](Copy(packed)))
    with pytest.raises(PackError) as refused:
        merge_packs(at(whole, tmp_path / "store"), [packed, path])
    assert "tampered.bench: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "store" / "runs").exists()
    assert {item.name for item in tmp_path.iterdir()} <= {"tampered.bench", "store"}


def test_a_copy_that_is_not_tampered_with_is_accepted(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    """Else the cases above would show nothing."""
    (tmp_path / "copy.bench").write_bytes(Copy(packed).edit(lambda values: None).zipped())
    assert len(merge_packs(at(whole, tmp_path), [tmp_path / "copy.bench"]).added) == 3


def test_flipped_bytes_are_refused_or_change_nothing(
    whole: Made, packed: Path, tmp_path: Path
) -> None:
    content, generator = packed.read_bytes(), np.random.default_rng(0)
    merge_packs(at(whole, tmp_path / "right"), [packed])
    right = contents(tmp_path / "right")
    for number, place in enumerate(generator.integers(0, len(content), 40)):
        changed = bytearray(content)
        changed[place] ^= int(generator.integers(1, 256))
        path, root = tmp_path / f"{number}.bench", tmp_path / f"store{number}"
        path.write_bytes(bytes(changed))
        with contextlib.suppress(PackError):
            merge_packs(at(whole, root), [path])
            assert contents(root) == right


@pytest.mark.parametrize("table", [files.MANIFEST, files.PREDICTIONS])
def test_tables_of_flipped_bytes_with_right_hashes_end_in_one_sentence(
    table: str, whole: Made, packed: Path, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        copy = Copy(packed)

        def flipped(values: dict[str, Any], copy: Copy = copy) -> None:
            content = bytearray(copy.members[member(values["files"][table])])
            content[generator.integers(len(content))] ^= int(generator.integers(1, 256))
            sha256 = hashlib.sha256(content).hexdigest()
            copy.members[member(sha256)] = bytes(content)
            values["files"][table] = sha256

        own = member(copy.values(copy.records[0])["files"][table])
        copy.edit(flipped)
        if table == files.PREDICTIONS:
            del copy.members[own]
        path, root = tmp_path / f"{number}.bench", tmp_path / f"store{number}"
        path.write_bytes(copy.zipped())
        with contextlib.suppress(PackError):
            merge_packs(at(whole, root), [path])
            # A byte that no reader looks at.
            records = [folder.record() for folder in study_folders(root, "s")]
            known = {record.run_id: record for record in whole.collection().comparisons[0].records}
            assert all(item and item.test == known[item.run_id].test for item in records)


def test_members_beyond_the_limits_are_refused(
    whole: Made, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("MAX_UNPACKED_BYTES", 1000), ("MAX_MEMBERS", 2), ("MAX_PACK_BYTES", 9)):
        with monkeypatch.context() as patch:
            patch.setattr(pack_file, name, limit)
            with pytest.raises(PackError):
                merge_packs(at(whole, tmp_path), [packed])


def private(record: RunRecord, secret: str) -> RunRecord:
    """A record with a secret in every place where a path, tag or error may have one."""
    spec, path = record.spec, Path(f"/home/{secret}/file")
    data = spec.data.model_copy(update={"exclude": path})
    return record.model_copy(
        update={
            "spec": spec.model_copy(
                update={
                    "pixels": path,
                    "cache": path.parent,
                    "tags": {"user": secret, "uri": f"postgresql://me:{secret}@host/db"},
                    "weights": dataclasses.replace(
                        spec.weights, path=path, note=f"cannot read '{path}'"
                    ),
                    "model": spec.model.model_copy(update={"weights": f"../{secret}/w"}),
                    "data": data.model_copy(
                        update={"path": path, "source": "plugin", "options": {"api_key": secret}}
                    ),
                }
            ),
            "cost_error": f"No such file: '/home/{secret}/x y' or C:\\Users\\{secret}\\x",
            "measured_error": f"http://user:{secret}@host:5000/api failed, password={secret}",
        }
    )


def test_a_shared_record_has_no_secret_and_the_same_identity(whole: Made) -> None:
    record = whole.collection().comparisons[0].records[0]
    shared = shareable_record(private(record, "hunter2"))
    assert "hunter2" not in shared.model_dump_json()
    assert shared.run_id == shared.spec.run_id == record.run_id
    assert (shared.test, shared.training, shared.cost) == (
        record.test,
        record.training,
        record.cost,
    )
    assert shareable_record(shared) == shared


def test_secrets_are_nowhere_in_a_pack(tmp_path: Path) -> None:
    """Planted in the environment, the user's name, the folder, and the tags of a run."""
    folder = tmp_path / "hunter2-folder"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(
        TINY.replace("[test_resnet, test_efficientnet]", "[test_resnet]")
    )
    planted = {
        **environment(),
        "USER": "hunter2-user",
        "HOSTNAME": "hunter2-host",
        "MLFLOW_TRACKING_USERNAME": "hunter2-user",
        "MLFLOW_TRACKING_PASSWORD": "hunter2-password",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/hunter2.db",
        "AWS_SECRET_ACCESS_KEY": "hunter2-aws",
    }
    done = run_bench(folder, "run", "--all", "-c", "tiny.yaml", variables=planted)
    assert done.code == 0, done.err
    own = next(iter(study_folders(folder / "mlruns", "tiny")))
    spec = own.spec()
    assert spec is not None
    assert "hunter2" in spec.model_dump_json()
    done = run_bench(folder, "pack", "-c", "tiny.yaml", "-o", "tiny.bench", variables=planted)
    assert done.code == 0, done.err
    copy = Copy(folder / "tiny.bench")
    assert len(copy.members) >= 4
    for name, content in copy.members.items():
        assert b"hunter2" not in content, name
        assert b"hunter2" not in name.encode()


@pytest.fixture(scope="module")
def merged_tiny(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store into which the tiny study was merged."""
    folder = tmp_path_factory.mktemp("merged")
    (folder / "tiny.yaml").write_text(TINY)
    done = run_bench(tiny_study.folder, "pack", "-c", "tiny.yaml", "-o", str(folder / "a.bench"))
    assert (done.code, "2 runs packed" in done.err) == (0, True), done.err
    done = run_bench(folder, "merge", "a.bench", "-c", "tiny.yaml")
    assert (done.code, "2 runs merged" in done.out) == (0, True), done.err
    return folder


def test_commands_work_on_merged_runs(tiny_study: StudyRun, merged_tiny: Path) -> None:
    for command in (
        ("report", "-c", "tiny.yaml"),
        ("report", "-c", "tiny.yaml", "--format", "json"),
        ("compare", "test_resnet-s0", "test_efficientnet-s0", "-c", "tiny.yaml"),
        ("runs", "list", "-c", "tiny.yaml"),
    ):
        own, other = (run_bench(place, *command) for place in (tiny_study.folder, merged_tiny))
        assert (own.code, other.code) == (0, 0), other.err
        assert own.out == other.out, command


RUN_OPTION = ("--run", "test_resnet-s0")


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "image.jpg", *RUN_OPTION),
        ("export", "-o", "x.onnx", *RUN_OPTION),
        ("deploy", *RUN_OPTION),
        ("register", *RUN_OPTION),
        ("stress", "test_resnet"),
    ],
    ids=lambda command: command[0],
)
def test_commands_say_that_a_merged_run_has_no_model(
    command: tuple[str, ...], merged_tiny: Path
) -> None:
    (merged_tiny / "image.jpg").write_bytes(draw_jpeg(0))
    done = run_bench(merged_tiny, *command, "-c", "tiny.yaml")
    assert done.code == 2
    assert "the run was merged from a pack, which holds no model" in done.err
    assert "Traceback" not in done.err


def test_merged_runs_are_not_trained_again_and_reach_mlflow(merged_tiny: Path) -> None:
    before = contents(merged_tiny / "mlruns" / "runs")
    done = run_bench(merged_tiny, "run", "--all", "-c", "tiny.yaml")
    assert done.code == 0, done.err
    assert contents(merged_tiny / "mlruns" / "runs") == before
    done = run_bench(merged_tiny, "sync", "-c", "tiny.yaml")
    assert (done.code, done.out.strip()) == (0, "0 runs logged, 2 already logged"), done.err


def test_sync_logs_merged_runs(merged_tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(merged_tiny / "mlruns" / "runs", tmp_path / "mlruns" / "runs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = run_bench(tmp_path, "sync", "-c", "tiny.yaml")
    assert (done.code, done.out.strip()) == (0, "2 runs logged, 0 already logged"), done.err


def test_merge_reports_a_conflict_with_exit_code_1(merged_tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(merged_tiny, tmp_path / "copy")
    folder = next(iter(study_folders(tmp_path / "copy" / "mlruns", "tiny")))
    record = folder.record()
    assert record is not None
    RunFolder(folder.path).write(files.RECORD, record.model_copy(update={"peak_memory_bytes": 1}))
    done = run_bench(tmp_path / "copy", "merge", "a.bench", "-c", "tiny.yaml")
    assert done.code == 1
    assert "0 runs merged, 1 already known, 1 not merged" in done.out
    assert "other values of peak_memory_bytes" in done.err


def test_what_is_no_pack_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.bench").write_text("hello")
    (tmp_path / "tiny.yaml").write_text(TINY)
    for name in ("text.bench", "missing.bench", "."):
        done = run_bench(tmp_path, "merge", name, "-c", "tiny.yaml")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
    done = run_bench(tmp_path, "pack", "-c", "tiny.yaml")
    assert (done.code, "has no finished run" in done.err) == (2, True), done.err
    assert not (tmp_path / "tiny.bench").exists()


def test_runs_of_an_earlier_version_are_packed_in_the_present_one(tmp_path: Path) -> None:
    stored = Path(__file__).parent / "fixtures" / "version2"
    for source in stored.glob("*-s0-*"):
        target = tmp_path / "mlruns" / "runs" / "tiny" / source.name
        shutil.copytree(source, target)
        for name in json.loads((source / files.RECORD).read_text())["files"]:
            (target / name).touch()
    (tmp_path / "tiny.yaml").write_text(TINY)
    own = load_study(tmp_path / "tiny.yaml", [f"tracking.folder={tmp_path / 'mlruns'}"])
    other = load_study(tmp_path / "tiny.yaml", [f"tracking.folder={tmp_path / 'other'}"])
    assert pack_study(own, tmp_path / "old.bench").skipped == ()
    assert len(merge_packs(other, [tmp_path / "old.bench"]).added) == 2
    assert texts(own) == texts(other)
