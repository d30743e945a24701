"""A study of many runs with results of all kinds, and packs of it that can be changed."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.config.study import StudySettings
from benchmark.report.write import read_report
from benchmark.runs import run_folder as files
from benchmark.runs.audits import Audit, AuditHead, Suspect, store_audit
from benchmark.runs.curve_results import CurveFile, CurvePoint, LearningCurve
from benchmark.runs.run_folder import CHECK, study_folders
from benchmark.runs.stress_results import StressResult, StressResults
from benchmark.sharing.pack_file import INDEX
from benchmark.workflows.share_runs import pack_study
from tests.benchmark.drawn_study import Made, fail, make_study
from tests.benchmark.drawn_variants import deploy

NAMES = ("resnet18", "vgg16", "efficientnet_b0", "mobilenetv3_large_100")
FORMS = ("md", "csv", "json", "latex", "html")
FAILED, REJECTED = 8, 9
"""Places of runs without figures in `whole`."""


def make_whole(root: Path) -> Made:
    """A store of ten runs, one failed and one with a damaged record, and an audit.

    Two runs have a learning curve and a stress result, two have deployed variants.
    """
    made = make_study(root, NAMES)
    folders = list(study_folders(made.root, "s"))
    deploy(folders[0])
    deploy(folders[3], device="laptop")
    fail(made, "wide_resnet50_2", "out of memory: 3 GiB were needed | 2 GiB are free")
    fail(made, "xception41", "is replaced by a damaged record")
    rejected = list(study_folders(made.root, "s"))[REJECTED]
    (rejected.path / files.FAILURE).unlink()
    (rejected.path / files.RECORD).write_text("{}")
    for folder in folders[:2]:
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


def make_packed(whole: Made, folder: Path) -> Path:
    """A pack of three finished runs, a failed and a rejected one."""
    study = store_of(whole, folder / "store", (0, 1, 2, FAILED, REJECTED))
    found = pack_study(study, folder / "s.bench")
    assert (found.runs, found.without_figures) == (3, 2)
    [line] = found.skipped
    assert line.startswith("packed without figures: xception41-s0-")
    return folder / "s.bench"


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
