"""Labels corrected, and images dropped, by the decisions in a CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from clothclf.csv_text import csv_text
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare
from clothclf.errors import DataError
from clothclf.settings import AtMostSettings, DataSettings, DemoSettings

DEMO = DataSettings(image_size=16, demo=DemoSettings(images_per_class=10))
HEADER = "id,label,suggested,decision\n"

Prepare = Callable[..., DataSet]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def plain(cache: Path) -> DataSet:
    return prepare(DEMO, cache)


@pytest.fixture
def corrected(cache: Path, tmp_path: Path) -> Prepare:
    """`corrected(text)` prepares the demo with a file of this text."""

    def prepared(text: str, **changes: object) -> DataSet:
        (tmp_path / "file.csv").write_text(text)
        update = {"corrections": tmp_path / "file.csv", **changes}
        return prepare(DEMO.model_copy(update=update), cache)

    return prepared


def first_of(data: DataSet, split: str, place: int = 0) -> tuple[str, str]:
    rows = data.manifest[data.manifest["split"] == split]
    return str(rows["id"].iloc[place]), str(rows["label"].iloc[place])


def other(data: DataSet, label: str) -> str:
    return next(name for name in data.summary.classes if name != label)


def test_decisions_change_labels_and_nothing_else(plain: DataSet, corrected: Prepare) -> None:
    saved, label_kept = first_of(plain, "train")
    open_one, _ = first_of(plain, "train", 1)
    taken, label_taken = first_of(plain, "train", 2)
    named, label_named = first_of(plain, "test")
    dropped, label_dropped = first_of(plain, "train", 3)
    suggested, right = other(plain, label_taken), other(plain, label_named)
    text = (
        f"{HEADER}{saved},{label_kept},no class,keep\n{open_one},other,no class,\n"
        f"{taken},{label_taken},{suggested},suggested\n{named},{label_named},,{right}\n"
        f"{dropped},{label_dropped},,exclude\n"
    )
    data = corrected(text)
    before, after = plain.manifest.set_index("id"), data.manifest.set_index("id")
    assert set(before.index) - set(after.index) == {dropped}
    labels = before["label"].drop(dropped)
    changed = labels[labels != after["label"]].index
    assert set(changed) == {taken, named}
    assert (after.loc[taken, "label"], after.loc[named, "label"]) == (suggested, right)
    columns = ["split", "pixel_hash", "pixel_row"]
    assert after[columns].equals(before[columns].drop(dropped))
    assert data.summary.classes == plain.summary.classes
    assert data.summary.repaired["label corrected"] == 2
    assert data.summary.dropped["excluded by data.corrections"] == 1
    result = data.findings.set_index("image_id")
    assert result.loc[taken, "detail"] == f"{label_taken} -> {suggested}"
    assert data.summary.labels_corrected == {"train": 1, "test": 1}
    assert data.summary.images_excluded == {"train": 1}


def test_the_fingerprint_changes_and_names_the_data_before(
    plain: DataSet, corrected: Prepare, cache: Path
) -> None:
    name, label = first_of(plain, "train")
    data = corrected(f"{HEADER}{name},{label},,{other(plain, label)}\n")
    assert data.summary.fingerprint != plain.summary.fingerprint
    assert data.summary.uncorrected_fingerprint == plain.summary.fingerprint
    assert plain.summary.uncorrected_fingerprint == ""
    assert len(list((cache / "pixels").iterdir())) == 1
    assert data.pixels == plain.pixels


def test_decisions_that_change_nothing_leave_the_fingerprint(
    plain: DataSet, corrected: Prepare
) -> None:
    name, label = first_of(plain, "train")
    summary = corrected(f"{HEADER}{name},{label},,keep\n").summary
    assert summary == plain.summary


def test_corrections_of_images_beyond_a_sample_are_ignored(
    plain: DataSet, corrected: Prepare
) -> None:
    train = plain.manifest[plain.manifest["split"] == "train"]
    rows = list(train.groupby("label").head(1).itertuples())
    lines = [f"{row.id},{row.label},,{other(plain, str(row.label))}\n" for row in rows]
    data = corrected(HEADER + "".join(lines), at_most=AtMostSettings(train=30))
    ids = set(data.manifest["id"])
    inside = sum(row.id in ids for row in rows)
    assert 0 < inside < len(rows)
    assert data.summary.labels_corrected == {"train": inside}


def test_the_sample_is_that_of_the_labels_as_given(
    plain: DataSet, corrected: Prepare, cache: Path
) -> None:
    few = AtMostSettings(train=30)
    before = prepare(DEMO.model_copy(update={"at_most": few}), cache)
    name, label = first_of(before, "train")
    data = corrected(f"{HEADER}{name},{label},,{other(plain, label)}\n", at_most=few)
    assert data.manifest["id"].tolist() == before.manifest["id"].tolist()
    assert data.summary.uncorrected_fingerprint == before.summary.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "is empty"),
        ("id,label\n{id},{label}\n", "has no column 'decision'; `bench data audit --csv`"),
        ("id,decision\n{id},keep\n", "has no column 'label'"),
        (HEADER, "has no decision; fill in column decision"),
        (HEADER + "{id},{label},,\n", "has no decision; fill in column decision"),
        (HEADER + "nobody,{label},,keep\n", "line 2: the data have no image 'nobody'"),
        (HEADER + ",{label},,keep\n", "line 2: the data have no image ''"),
        (HEADER + "{id},{label},,{typo}\n", r"line 2: decision '{typo}' .*did you mean {other}"),
        (HEADER + "{id},{label},,Exclude\n", r"line 2: decision 'Exclude' .*did you mean exclude"),
        (HEADER + "{id},{label},{typo},suggested\n", r"suggestion '{typo}' is not .*{other}"),
        (HEADER + "{id},{label},,suggested\n", "line 2: has no suggestion to follow"),
        ("id,label,decision\n{id},{label},suggested\n", "line 2: has no suggestion to follow"),
        (HEADER + "{id},{other},,keep\n", "line 2: written for other labels: image .*{label}"),
        (
            HEADER + "{id},{label},,{other}\n{id},{label},,exclude\n",
            "line 3: image '{id}' has another decision in line 2; remove one",
        ),
        ("id;label;decision\n", "separated by ';'; save it with commas"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(
    plain: DataSet, cache: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    name, label = first_of(plain, "train")
    right = other(plain, label)
    values = {"id": name, "label": label, "other": right, "typo": f"{right}x"}
    if text is not None:
        (tmp_path / "file.csv").write_text(text.format(**values))
    settings = DEMO.model_copy(update={"corrections": tmp_path / "file.csv"})
    pattern = rf"^data\.corrections: .*file\.csv.*{message.format(**values)}"
    with pytest.raises(DataError, match=pattern) as caught:
        prepare(settings, cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decision", ["exclude", "{other}"])
def test_a_class_keeps_an_image_in_each_split(
    plain: DataSet, corrected: Prepare, decision: str
) -> None:
    manifest = plain.manifest
    label = manifest["label"].iloc[0]
    ids = manifest.loc[(manifest["label"] == label) & (manifest["split"] == "valid"), "id"]
    chosen = decision.format(other=other(plain, label))
    text = HEADER + "".join(f"{name},{label},,{chosen}\n" for name in ids)
    with pytest.raises(DataError, match=f"leaves class {label!r} .*the validation split; keep one"):
        corrected(text)


def test_the_same_decision_twice_is_one(plain: DataSet, corrected: Prepare) -> None:
    name, label = first_of(plain, "train")
    right = other(plain, label)
    data = corrected(
        f"{HEADER}{name},{label},{right},suggested\n{name},{label},,{right}\n{name},{label},,\n"
    )
    assert data.summary.labels_corrected == {"train": 1}


def test_ids_and_labels_that_look_like_formulas_are_read_back(tmp_path: Path) -> None:
    """As bench writes them, quoted, and as they are."""
    classes = ("=one", "@two")
    for label in classes:
        for place in range(6):
            path = tmp_path / "images" / label / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (20 * place, len(label), ord(label[1]))).save(path)
    settings = DataSettings(source="folder", path=tmp_path / "images", image_size=8)
    plain = prepare(settings, tmp_path / "cache")
    rows = plain.manifest[plain.manifest["split"] == "train"].groupby("label").head(1)
    asked = {row.id: classes[1 - classes.index(str(row.label))] for row in rows.itertuples()}
    lines = [(row.id, row.label, asked[row.id], asked[row.id]) for row in rows.itertuples()]
    columns = ("id", "label", "suggested", "decision")
    written = csv_text(columns, lines)
    assert "'=one" in written
    frame = pd.DataFrame(lines, columns=list(columns)).to_csv(index=False)
    for text in (written, frame):
        (tmp_path / "file.csv").write_text(text)
        changed = settings.model_copy(update={"corrections": tmp_path / "file.csv"})
        after = prepare(changed, tmp_path / "cache").manifest.set_index("id")["label"]
        assert {name: after[name] for name in asked} == asked
