"""Accuracy before and after the corrections of an audit's suspects."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.audit.text import suspects_csv
from benchmark.config.study import StudySettings
from benchmark.report.write import read_report
from benchmark.runs.audits import Audit, Suspect
from clothclf.data.prepare import prepare
from clothclf.settings import DataSettings, SplitSettings
from tests.benchmark.conftest import StudyRun, run_bench
from tests.benchmark.examples import DATA
from tests.benchmark.predicted_runs import (
    DrawnImages,
    draw_predictions,
    draw_test_set,
    store_predicted_run,
)
from tests.benchmark.test_report_contents import study_in

TITLE = "Accuracy before and after the corrections"
CORRECTED = DataSettings(corrections=Path("file.csv"))
COUNT, WRONG, DROPPED = 400, 40, 10
"""Test images, wrong labels that are corrected, and images that are excluded, from the end."""


def corrected_images(given: DrawnImages) -> DrawnImages:
    """The first WRONG labels moved to the next class; the last DROPPED images gone."""
    left = slice(0, COUNT - DROPPED)
    targets = given.targets.copy()
    targets[:WRONG] = (targets[:WRONG] + 1) % len(given.classes)
    return DrawnImages(given.ids[left], targets[left], given.hashes[left], given.classes)


def store_after(
    root: Path, given: DrawnImages, shares: np.ndarray, name: str = "vgg16", **changes: Any
) -> None:
    images = corrected_images(given)
    summary = dataclasses.replace(
        DATA,
        classes=images.classes,
        fingerprint=images.fingerprint,
        uncorrected_fingerprint=given.fingerprint,
        labels_corrected={"train": 1, "test": WRONG},
        images_excluded={"test": DROPPED},
        images={**DATA.images, "test": len(images.ids)},
    )
    changes = {"data": CORRECTED, **changes}
    store_predicted_run(root, images, shares, name, data_summary=summary, **changes)


def study_of(root: Path, *names: str) -> StudySettings:
    return study_in(root, *names).model_copy(update={"data": CORRECTED})


def texts(study: StudySettings) -> dict[str, str]:
    created = read_report(study, Path("s.yaml"))
    return {form: created.text(form) for form in ("md", "csv", "json", "html", "latex")}


def corrections(study: StudySettings) -> dict[str, Any]:
    (comparison,) = json.loads(read_report(study, Path("s.yaml")).text("json"))["comparisons"]
    result: dict[str, Any] = comparison["corrections"]
    return result


@pytest.mark.parametrize("study_before", ["s", "elsewhere"])
def test_both_runs_are_judged_by_the_corrected_labels(tmp_path: Path, study_before: str) -> None:
    """Before: right by the labels as given. After: right by the corrected ones."""
    given = draw_test_set(COUNT)
    after = corrected_images(given)
    all_right = np.ones(COUNT, dtype=bool)
    store_predicted_run(
        tmp_path, given, draw_predictions(given.targets, all_right, 3), study=study_before
    )
    store_after(tmp_path, given, draw_predictions(after.targets, all_right[: len(after.ids)], 3))
    study = study_of(tmp_path, "vgg16")
    result = corrections(study)
    row = result["rows"]["vgg16"]
    images = COUNT - DROPPED
    assert result["test_images"] == images
    assert (row["before"], row["after"], row["as_given"]) == (1 - WRONG / images, 1.0, 1.0)
    assert row["difference"] == pytest.approx(WRONG / images)
    assert 0 < row["interval"]["low"] < WRONG / images < row["interval"]["high"]
    assert row["verdict"] == "apart"
    created = texts(study)
    for form in ("md", "html", "latex"):
        assert TITLE in created[form]
    assert (
        "data.corrections changed the labels of 1 training and 40 test images and excluded 10 "
        "test images."
    ) in created["md"]
    assert "| vgg16 | 89.74 % | 100.00 % | +10.26 |" in created["md"]
    (flat,) = csv.DictReader(io.StringIO(created["csv"]))
    assert float(flat["test_accuracy_before_corrections"]) == 1 - WRONG / images
    assert float(flat["corrections_difference"]) == pytest.approx(WRONG / images)


def test_runs_are_paired_by_seed(tmp_path: Path) -> None:
    """Seeds without a run before do not count; intervals include the variation of the others."""
    given = draw_test_set(COUNT)
    after = corrected_images(given)
    for seed in range(3):
        right = np.random.default_rng(seed).random(COUNT) > 0.1
        if seed < 2:
            shares = draw_predictions(given.targets, right, 3, seed)
            store_predicted_run(tmp_path, given, shares, seed=seed)
        shares = draw_predictions(after.targets, right[: len(after.ids)], 3, seed)
        store_after(tmp_path, given, shares, seed=seed)
    result = corrections(study_of(tmp_path, "vgg16"))
    assert result["rows"]["vgg16"]["seeds"] == [0, 1]


def test_a_row_without_a_run_before_says_how_to_get_one(tmp_path: Path) -> None:
    given = draw_test_set(COUNT)
    after = corrected_images(given)
    right = np.ones(len(after.ids), dtype=bool)
    store_after(tmp_path, given, draw_predictions(after.targets, right, 3))
    created = texts(study_of(tmp_path, "vgg16"))
    assert (
        "No finished run before the corrections: vgg16. To compare, run the same study without "
        "them (--set data.corrections=null)"
    ) in created["md"]
    assert "test_accuracy_before_corrections" not in created["csv"]


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"architecture": "resnet18"}, {"other_data": 1}], ids=str
)
def test_other_runs_are_not_taken_for_the_run_before(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    given, other_seed = draw_test_set(COUNT), changes.pop("other_data", 0)
    after = corrected_images(given)
    images = draw_test_set(COUNT, seed=other_seed)
    shares = draw_predictions(images.targets, np.ones(COUNT, dtype=bool), 3)
    store_predicted_run(tmp_path, images, shares, **changes)
    right = np.ones(len(after.ids), dtype=bool)
    store_after(tmp_path, given, draw_predictions(after.targets, right, 3))
    assert corrections(study_of(tmp_path, "vgg16"))["missing"] == ["vgg16"]


def test_damaged_predictions_are_reported(tmp_path: Path) -> None:
    given = draw_test_set(COUNT)
    after = corrected_images(given)
    shares = draw_predictions(given.targets, np.ones(COUNT, dtype=bool), 3)
    store_predicted_run(tmp_path, given, shares, study="elsewhere")
    right = np.ones(len(after.ids), dtype=bool)
    store_after(tmp_path, given, draw_predictions(after.targets, right, 3))
    for path in tmp_path.glob("runs/elsewhere/*/predictions.parquet"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "vgg16: " in texts(study_of(tmp_path, "vgg16"))["md"].partition("has changed since")[0]


def test_without_corrections_nothing_is_said(tmp_path: Path) -> None:
    given = draw_test_set(COUNT)
    store_predicted_run(
        tmp_path, given, draw_predictions(given.targets, np.ones(COUNT, dtype=bool), 3)
    )
    created = texts(study_in(tmp_path, "vgg16"))
    assert "corrections" not in created["md"] + created["csv"] + created["json"]


def test_labels_that_look_like_formulas_come_back(tmp_path: Path) -> None:
    """From the audit's CSV, decided in a spreadsheet, to the study."""
    suspect = Suspect(
        id="=1+1.png", label="=a", suggested="@b", p_label=0.1, p_suggested=0.9, split="train"
    )
    audit = Audit(
        fingerprint="f", title="t", heads=(), folds=5, images=1, accuracy=1.0, suspects=(suspect,)
    )
    table = pd.read_csv(io.StringIO(suspects_csv(audit)), dtype=str)
    assert table.loc[0, "id"] == "'=1+1.png"
    table["decision"] = "suggested"
    table.to_csv(tmp_path / "file.csv", index=False)
    lines = ["path,articleType,split"]
    for label in ("=a", "@b"):
        for place, split in enumerate(("train", "train", "valid", "test")):
            name = "=1+1.png" if (label, place) == ("=a", 0) else f"{label[1]}{place}.png"
            draw_tile(tmp_path / name, 30 * place + len(lines))
            lines.append(f"{name},{label},{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    settings = DataSettings(
        source="table",
        path=tmp_path / "table.csv",
        image_size=8,
        corrections=tmp_path / "file.csv",
        split=SplitSettings(column="split"),
    )
    manifest = prepare(settings, tmp_path / "cache").manifest
    assert manifest.set_index("id").loc["=1+1.png", "label"] == "@b"


def draw_tile(path: Path, level: int) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8), (level, level, level)).save(path)


def test_from_the_audit_to_the_corrected_study(tiny_study: StudyRun, tmp_path: Path) -> None:
    """The study as it was run, its audit, three decisions, the study again, and its report."""
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.folder, folder)
    done = run_bench(folder, "data", "audit", "-c", "tiny.yaml", "--csv", "suspects.csv")
    assert done.code == 0, done.err
    table = pd.read_csv(folder / "suspects.csv", dtype=str, keep_default_na=False)
    places = table[table["split"] == "train"].drop_duplicates("label").index[:3]
    table.loc[places, "decision"] = ["suggested", "suggested", "exclude"]
    table.to_csv(folder / "suspects.csv", index=False)
    own = ("-c", "tiny.yaml", "--set", "data.corrections=suspects.csv")
    done = run_bench(folder, "run", "--all", *own)
    assert done.code == 0, done.err
    report = run_bench(folder, "report", *own, "-o", "report.json")
    assert report.code == 0, report.err
    (comparison,) = json.loads((folder / "report.json").read_text())["comparisons"]
    result = comparison["corrections"]
    assert result["labels_corrected"] == {"train": 2}
    assert result["images_excluded"] == {"train": 1}
    assert set(result["rows"]) == {"test_resnet", "test_efficientnet"}
    assert result["missing"] == result["errors"] == []
    for row in result["rows"].values():
        assert row["before"] == row["as_given"]
    undone = run_bench(folder, "report", *own, "--set", "data.corrections=null")
    assert undone.code == 0, undone.err
    assert TITLE not in undone.out
    bad = run_bench(folder, "run", "--all", *own[:2], "--set", "data.corrections=nowhere.csv")
    assert bad.code == 2
    assert (
        bad.err.strip()
        .splitlines()[-1]
        .endswith("data.corrections: nowhere.csv: cannot be read: No such file or directory")
    )
