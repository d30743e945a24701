"""Runs that an earlier version stored: read in memory, reported with the same figures.

`fixtures/version2` was written by the last bench with records of version 2: two runs of the tiny
study, measured, and its report of them. Of the files that a record lists, those that a report does
not read are left out. `fixtures/version3` has a fine-tuned run of version 3 without its tables.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.config.study import load_study
from benchmark.inference.restore import SavedModel
from benchmark.report.write import read_report
from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.upgrade import RECORD_VERSION
from tests.benchmark.conftest import TINY

STORED = Path(__file__).parent / "fixtures" / "version2"
RUNS = sorted(path.name for path in STORED.iterdir() if path.is_dir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tracking folder with the stored runs."""
    for name in RUNS:
        target = tmp_path / "mlruns" / "runs" / "tiny" / name
        shutil.copytree(STORED / name, target)
        for file in raw(name)["files"]:
            (target / file).touch()
    return tmp_path / "mlruns"


JUDGED_ANEW = {"against_best_p", "tied_with_best"}
"""Columns on verdicts: later reports adjust p-values otherwise, and do not call a pair tied."""


def raw(name: str, file: str = files.RECORD) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((STORED / name / file).read_text())
    return values


def folder(root: Path, name: str) -> RunFolder:
    return RunFolder(root / "runs" / "tiny" / name)


@pytest.mark.parametrize("name", RUNS)
def test_a_record_of_version_2_is_read_with_its_figures(root: Path, name: str) -> None:
    record, old = folder(root, name).record(), raw(name)
    assert record is not None
    assert record.run_id == old["run_id"] == name.rpartition("-")[2]
    assert record.version == RECORD_VERSION
    assert record.test.metrics == {
        key: old["test"][key] for key in ("accuracy", "macro_f1", "loss")
    }
    cost = record.cost
    assert cost is not None
    for counter in ("torch", "fvcore", "flopth"):
        result, theirs = cost.counters[counter], old["cost"][counter]
        assert (result.macs, result.by_module) == (theirs["macs"], theirs["by_module"])
        assert (result.convention, result.error) == (theirs["convention"], theirs["fault"])
    assert cost.verdicts == {key: old["cost"][f"{key}_verdict"] for key in ("flopth", "fvcore")}
    assert record.backbone_sha256 == old["body_sha256"]
    assert (record.cost_error, record.measured_error) == (old["cost_fault"], old["measured_fault"])
    assert record.measured is not None
    assert record.measured.latency_ms_median == old["measured"]["latency_ms_median"]


@pytest.mark.parametrize("name", RUNS)
def test_a_spec_of_version_2_has_the_same_run_id(root: Path, name: str) -> None:
    spec, old = folder(root, name).spec(), raw(name, files.SPEC)
    assert spec is not None
    assert spec.run_id == name.rpartition("-")[2]
    assert spec.data_summary.exact_duplicate_groups == old["data_summary"]["twin_groups"]
    assert spec.data_summary.exact_duplicate_images == old["data_summary"]["twin_images"]


def test_the_report_has_the_figures_that_version_2_reported(root: Path) -> None:
    config = root.parent / "tiny.yaml"
    config.write_text(TINY.replace("measure: false", "measure: true"))
    study = load_study(config, [f"tracking.folder={root}"])
    text = read_report(study, config).text("csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    earlier = list(csv.DictReader((STORED / "report.csv").read_text().splitlines()))
    assert len(earlier) == len(rows) == 2
    for row, old in zip(rows, earlier, strict=True):
        saved = old.keys() - JUDGED_ANEW
        assert {key: row[key] for key in saved} == {key: old[key] for key in saved}


def test_the_checksum_of_a_record_of_version_2_is_that_of_its_bytes(root: Path) -> None:
    damaged = folder(root, RUNS[0])
    text = (damaged.path / files.RECORD).read_text()
    (damaged.path / files.RECORD).write_text(text.replace('"images": 22', '"images": 23', 1))
    assert damaged.record() is None
    assert "damaged" in damaged.invalid_reason()


def test_a_failure_and_a_model_of_version_2_are_read() -> None:
    spec = raw(RUNS[0], files.SPEC)
    failure = {"version": 2, "run_id": "r", "spec": spec, "stage": "train", "reason": "why"}
    read = Failure.from_json(json.dumps({**failure, "log_tail": "", "at": "2024"}))
    assert (read.reason, read.spec.run_id) == ("why", RUNS[0].rpartition("-")[2])
    model = {"run_id": "r", "spec": spec, "body_sha256": "0" * 64, "tensors_sha256": "1" * 64}
    assert SavedModel.from_json(json.dumps(model)).backbone_sha256 == "0" * 64


def test_a_record_of_version_3_is_read_with_the_current_route(tmp_path: Path) -> None:
    """A fine-tuned run, whose training reads images in every epoch."""
    (stored,) = STORED.with_name("version3").iterdir()
    run = RunFolder(tmp_path / stored.name)
    shutil.copytree(stored, run.path)
    old = json.loads((stored / files.RECORD).read_text())
    for file in old["files"]:
        (run.path / file).touch()
    record = run.record()
    assert record is not None
    assert (old["version"], record.version) == (3, RECORD_VERSION)
    assert (old["training"]["route"], record.training.route) == ("pictures", "images")
    assert record.run_id == stored.name.rpartition("-")[2]


@pytest.mark.parametrize(
    "changes",
    [
        *({"version": version} for version in (1, 99, [])),
        *({"cost": cost} for cost in (3, {"torch": []})),
        *({"spec": spec} for spec in ([], {"data_summary": 1})),
        {"test": None},
    ],
)
def test_values_of_another_version_or_type_are_refused(changes: dict[str, Any]) -> None:
    """Not with an error of the upgrade, but as any damaged record."""
    with pytest.raises(ValidationError):
        RunRecord.from_json(json.dumps({**raw(RUNS[0]), **changes}))
