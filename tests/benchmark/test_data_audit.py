"""`bench data audit`, and what reports make of it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from benchmark.audit import data_audit
from benchmark.config.study import StudySettings, load_study
from benchmark.report.check import differences
from benchmark.report.write import read_report
from benchmark.runs.audits import Audit, AuditHead, Suspect, find_audit, store_audit
from tests.benchmark.conftest import Bench, Finished, StudyRun, run_bench
from tests.benchmark.predicted_runs import (
    DrawnImages,
    draw_predictions,
    draw_test_set,
    store_predicted_run,
)
from tests.benchmark.test_report_contents import study_in

FORMATS = ("md", "csv", "json", "latex", "html")


def head_of(architecture: str, weights: str, accuracy: float = 0.9) -> AuditHead:
    return AuditHead(
        architecture=architecture,
        image_size=64,
        weights=weights,
        weights_sha256="",
        accuracy=accuracy,
    )


def audit_of(images: DrawnImages, doubted: list[str]) -> Audit:
    return Audit(
        fingerprint=images.fingerprint,
        title="t",
        heads=(head_of("resnet18", "w"),),
        folds=5,
        images=len(images.ids),
        accuracy=0.9,
        suspects=tuple(
            Suspect(id=name, label="a", suggested="b", p_label=0.1, p_suggested=0.8, split="test")
            for name in doubted
        ),
    )


@pytest.fixture
def study(tmp_path: Path) -> StudySettings:
    """Two architectures' answers to 100 images: the second is wrong of the first ten."""
    images = draw_test_set(100)
    for name, wrong in (("vgg16", 5), ("resnet18", 10)):
        right = np.arange(100) >= wrong
        shares = draw_predictions(images.targets, right, 3)
        store_predicted_run(tmp_path, images, shares, name)
    return study_in(tmp_path, "vgg16", "resnet18")


def texts(study: StudySettings) -> dict[str, str]:
    created = read_report(study, Path("s.yaml"))
    return {form: created.text(form) for form in FORMATS}


def test_accuracy_without_suspects_is_that_of_the_other_images(study: StudySettings) -> None:
    """Of 100 images the first eight are doubted: 92 stay, of which all and 90 are right."""
    doubted = [str(1000 + place) for place in range(8)]
    store_audit(study.tracking.folder, audit_of(draw_test_set(100), doubted))
    (comparison,) = json.loads(texts(study)["json"])["comparisons"]
    figures = {
        row["architecture"]: row["test_accuracy_without_suspects"] for row in comparison["rows"]
    }
    assert figures == {"vgg16": 1.0, "resnet18": 90 / 92}
    assert comparison["suspects"]["test"] == doubted


def test_every_format_has_the_figure_and_says_who_found_the_suspects(study: StudySettings) -> None:
    store_audit(study.tracking.folder, audit_of(draw_test_set(100), ["1000", "1001", "nowhere"]))
    created = texts(study)
    assert "| resnet18 | 90.00 % | 91.84 % | +1.84 |" in created["md"]
    rows = {row["architecture"]: row for row in csv.DictReader(io.StringIO(created["csv"]))}
    assert float(rows["resnet18"]["test_accuracy_without_suspects"]) == 90 / 98
    assert "91.84\u00a0%" in created["html"]
    for form in ("md", "html", "json"):
        assert "2 of 100 test images have suspected label errors" in created[form]
        assert "found by a model (a head on resnet18, weights w" in created[form]


def test_without_an_audit_of_the_data_nothing_is_said(study: StudySettings) -> None:
    """Nor with one of other data, or one that is damaged: byte by byte."""
    before = texts(study)
    assert "suspect" not in before["md"] + before["json"] + before["csv"]
    root = study.tracking.folder
    store_audit(root, audit_of(draw_test_set(100, seed=1), ["1000"]))
    assert texts(study) == before
    saved = store_audit(root, audit_of(draw_test_set(100), ["1000"]))
    assert texts(study) != before
    saved.write_text(saved.read_text().replace('"1000"', '"1001"'))
    assert texts(study) == before


@pytest.mark.parametrize("column", ["group", "near_duplicate_group", "pixel_hash"])
def test_a_group_is_in_one_fold(column: str) -> None:
    """Labels that only the other images of a group know cannot be learnt from another fold."""
    torch = pytest.importorskip("torch")
    from clothclf.training import label_errors

    place = np.arange(300) // 3
    codes = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    labels = np.random.default_rng(0).choice(["a", "b"], 100)[place]
    own = [str(n) for n in range(300)]
    images = pd.DataFrame({"id": own, "label": labels, "split": "train"})
    images = images.assign(group=own, near_duplicate_group=own, pixel_hash=own)
    together = images.assign(**{column: place.astype(str)})
    accuracies = []
    for table in (images, together):
        numbers, folds = data_audit._folds(table, ["a", "b"], 0)
        predicted = label_errors.out_of_fold(codes[place].clone(), numbers, folds)
        accuracies.append(data_audit._accuracy(predicted, numbers))
    apart, chance = accuracies
    assert apart > 0.85
    assert chance < 0.7


def test_a_report_with_suspects_is_derived_again(study: StudySettings) -> None:
    root, images = study.tracking.folder, draw_test_set(100)
    store_audit(root, audit_of(images, ["1000", "1001"]))
    written = texts(study)["md"]
    assert differences(written, texts(study)["md"]) == []
    store_audit(root, audit_of(images, ["1000"]))
    assert differences(written, texts(study)["md"]) != []


def test_where_all_test_images_are_doubted_there_is_no_figure(study: StudySettings) -> None:
    before = texts(study)
    images = draw_test_set(100)
    store_audit(study.tracking.folder, audit_of(images, list(images.ids)))
    assert texts(study) == before


def test_an_audit_is_read_as_it_was_written(tmp_path: Path) -> None:
    audit = audit_of(draw_test_set(10), ["1000", "1003"])
    store_audit(tmp_path, audit)
    result = find_audit(tmp_path, audit.fingerprint)
    assert result is not None
    assert result.suspects == audit.suspects
    assert find_audit(tmp_path, "another") is None


def test_an_audit_of_version_1_is_read(tmp_path: Path, study: StudySettings) -> None:
    """Its checksum is that of the text on disk."""
    audit = audit_of(draw_test_set(100), ["1000", "1003"])
    values = audit.model_dump(mode="json", exclude={"version", "heads"})
    head = audit.heads[0].model_dump(mode="json", exclude={"accuracy"})
    suspects = [
        {key: value for key, value in item.items() if key != "suspected_by"}
        for item in values["suspects"]
    ]
    old = {"version": 1, **values, **head, "suspects": suspects}
    bare = json.dumps(old, indent=1) + "\n"
    text = bare.replace('"check": ""', f'"check": "{hashlib.sha256(bare.encode()).hexdigest()}"')
    path = tmp_path / "audits" / f"{audit.fingerprint}.json"
    path.parent.mkdir()
    path.write_text(text)
    result = find_audit(tmp_path, audit.fingerprint)
    assert result is not None
    assert result.model_copy(update={"check": ""}) == audit
    assert "found by a model (a head on resnet18, weights w, trained on" in texts(study)["md"]
    path.write_text(text.replace('"1003"', '"1004"'))
    assert find_audit(tmp_path, audit.fingerprint) is None
    path.write_text(json.dumps({"version": 1, "suspects": 5}))
    assert find_audit(tmp_path, audit.fingerprint) is None


def test_a_report_names_all_heads_and_how_to_act(study: StudySettings) -> None:
    heads = (head_of("resnet18", "w"), head_of("vgg16", "v"))
    audit = audit_of(draw_test_set(100), ["1000"]).model_copy(update={"heads": heads})
    store_audit(study.tracking.folder, audit)
    created = texts(study)
    for form in ("md", "html", "json"):
        assert "averaged heads on resnet18 (weights w) and vgg16 (weights v)" in created[form]
    assert "set data.corrections: suspects.csv" in created["md"]
    (comparison,) = json.loads(created["json"])["comparisons"]
    found_by = comparison["suspects"]["found_by"]["heads"]
    assert [head["architecture"] for head in found_by] == ["resnet18", "vgg16"]


@pytest.fixture(scope="module")
def audited(
    tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Finished]:
    """A copy of the tiny study, audited in every way."""
    folder = tmp_path_factory.mktemp("audited") / "study"
    shutil.copytree(tiny_study.folder, folder)
    asked = ("-o", "audit.json", "--csv", "suspects.csv", "--sheet", "sheet.png")
    return folder, run_bench(folder, "data", "audit", "-c", "tiny.yaml", *asked)


def test_an_audit_of_a_study_that_has_run_is_in_its_report(
    audited: tuple[Path, Finished],
) -> None:
    """Found by the study's first architecture, whose kept features are used again."""
    folder, done = audited
    assert done.code == 0, done.err
    assert "test_resnet" in done.out
    assert "features of train" not in done.err
    report = run_bench(folder, "report", "-c", "tiny.yaml")
    assert report.code == 0, report.err
    assert "### Without suspected label errors" in report.out
    assert "found by a model (a head on test_resnet" in report.out


def test_all_that_is_written_tells_of_the_same_suspects(audited: tuple[Path, Finished]) -> None:
    folder, _ = audited
    with (folder / "suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads((folder / "audit.json").read_text())
    assert [row["id"] for row in rows] == [item["id"] for item in result["suspects"]["suspects"]]
    assert len(rows) > 0
    (saved,) = (folder / "mlruns" / "audits").glob("*.json")
    assert saved.stem == result["fingerprint"]
    assert Image.open(folder / "sheet.png").width > 1000


def test_several_architectures_are_averaged(audited: tuple[Path, Finished]) -> None:
    """Suspects and accuracies are those of the mean; each head keeps its own accuracy."""
    folder, _ = audited
    asked = ("data", "audit", "-c", "tiny.yaml", "--set", "tracking.folder=other")
    one = ("--architecture", "test_efficientnet")
    assert run_bench(folder, *asked, *one, "-o", "one.json").code == 0
    two = ("--architecture", "test_resnet", *one, "-o", "two.json", "--csv", "two.csv")
    done = run_bench(folder, *asked, *two)
    assert done.code == 0, done.err
    assert "of test_resnet (weights random; accuracy" in done.out
    assert "averaged probabilities" in done.out
    result = json.loads((folder / "two.json").read_text())["suspects"]
    single = json.loads((folder / "audit.json").read_text())["suspects"]
    assert [head["architecture"] for head in result["heads"]] == [
        "test_resnet",
        "test_efficientnet",
    ]
    assert result["heads"][0] == single["heads"][0]
    assert {item["suspected_by"] for item in result["suspects"]} <= {0, 1, 2}
    assert {item["suspected_by"] for item in single["suspects"]} == {1}
    own = [item["p_label"] for item in result["suspects"]]
    assert own == sorted(own)
    other = json.loads((folder / "one.json").read_text())["suspects"]
    shares = [
        {item["id"]: item["p_label"] for item in audit["suspects"]}
        for audit in (single, other, result)
    ]
    everywhere = set.intersection(*map(set, shares))
    assert everywhere
    for name in everywhere:
        first, second, mean = (known[name] for known in shares)
        assert mean == pytest.approx((first + second) / 2, abs=1e-5)
    with (folder / "two.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["split", "decision"]
    assert {row["decision"] for row in rows} == {""}


def test_suspects_survive_cleaning_and_can_be_left_out(audited: tuple[Path, Finished]) -> None:
    folder, _ = audited
    assert run_bench(folder, "data", "clean", "-c", "tiny.yaml").code == 0
    assert len(list((folder / "mlruns" / "audits").glob("*.json"))) == 1
    # All of them would leave classes of ten images too small to split.
    pd.read_csv(folder / "suspects.csv", dtype=str).head(8).to_csv(
        folder / "worst.csv", index=False
    )
    asked = ("--set", "data.exclude=worst.csv", "--manifest", "left.csv")
    done = run_bench(folder, "data", "stats", "-c", "tiny.yaml", *asked)
    assert done.code == 0, done.err
    doubted = set(pd.read_csv(folder / "worst.csv", dtype=str)["id"])
    left = set(pd.read_csv(folder / "left.csv", dtype=str)["id"])
    assert f"{len(doubted)}: excluded by the user" in done.out
    assert not doubted & left


def test_markdown_is_written_by_default(audited: tuple[Path, Finished]) -> None:
    folder, _ = audited
    done = run_bench(folder, "data", "audit", "-c", "tiny.yaml", "-o", "audit.md")
    assert done.code == 0, done.err
    result = (folder / "audit.md").read_text()
    for title in ("Near-duplicates", "Suspected label errors", "Classes", "Sizes and brightness"):
        assert f"## {title}" in result


def test_progress_of_features_ends_at_what_there_is(
    tiny_study: StudyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A training image that is mirrored, too, is two images."""
    monkeypatch.chdir(tiny_study.folder)
    monkeypatch.setattr(data_audit, "REPORT_INTERVAL_S", 0.0)
    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(data_audit, "make_console", lambda: console)
    more = ("train.augment.horizontal_flip=true", "seeds=[7]", "data.demo.seed=1")
    more += (f"tracking.folder={tmp_path}",)  # the drawings of the study stay the only ones
    data_audit.audit_data(load_study(Path("tiny.yaml"), more))
    result = re.findall(r"features of train: ([\d,]+) of ([\d,]+) images", console.file.getvalue())
    assert result[-1][0] == result[-1][1]


@pytest.mark.parametrize("verb", [("run", "--all", "--dry-run"), ("data", "audit")])
def test_own_weights_are_refused_from_scratch(bench: Bench, verb: tuple[str, ...]) -> None:
    own = ("--set", "model={mode: scratch}")
    own += ("--set", "architectures=[{name: test_resnet, weights: x}]")
    done = bench(*verb, "-c", "tiny.yaml", *own)
    assert done.code == 2
    assert "test_resnet: mode: scratch starts from random weights: remove its weights" in done.err


def test_a_backbone_that_is_not_there_is_reported_before_anything_is_looked_at(
    bench: Bench,
) -> None:
    done = bench("data", "audit", "-c", "tiny.yaml", "--architecture", "resnet1")
    assert done.code == 2
    assert "resnet1" in done.err
    assert "for near-duplicates" not in done.err
    assert "Traceback" not in done.err


def test_versions_of_one_photograph_are_named_with_their_splits(
    bench: Bench, tmp_path: Path
) -> None:
    """In a folder in which every image has a brighter copy; stats counts them, too."""
    rng = np.random.default_rng(0)
    for place in range(24):
        levels = rng.integers(0, 220, (9, 9, 3), dtype=np.uint8)
        image = Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC)
        folder = tmp_path / "pictures" / "ab"[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{place}.png")
        image.point(lambda level: round(1.05 * level)).save(folder / f"{place}-bright.png")
    own = ("--set", "data.source=folder", "--set", "data.path=pictures")
    done = bench("data", "audit", "-c", "tiny.yaml", *own, "-o", "audit.json")
    assert done.code == 0, done.err
    groups = json.loads((tmp_path / "audit.json").read_text())["near_duplicates"]
    assert sorted(sorted(Path(item["id"]).stem for item in group) for group in groups) == sorted(
        sorted([str(place), f"{place}-bright"]) for place in range(24)
    )
    across = sum(len({item["split"] for item in group}) > 1 for group in groups)
    assert across > 0
    stats = bench("data", "stats", "-c", "tiny.yaml", *own)
    assert f"48 images in 24 groups of near-duplicates; {across}" in stats.out
