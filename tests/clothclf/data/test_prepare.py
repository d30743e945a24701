"""Preparing a data set: everything dropped is counted, and equal input gives equal data."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clothclf.data import classes
from clothclf.data import prepare as stage
from clothclf.data.dataset import DataSet, SplitImages, fingerprint
from clothclf.data.decode import HEIC
from clothclf.data.exclude import EXCLUDED
from clothclf.data.prepare import prepare
from clothclf.data.sources import kaggle_source as kaggle_reasons
from clothclf.data.sources import selection
from clothclf.data.sources import table as table_reasons
from clothclf.errors import DataError
from clothclf.settings import DataSettings, SplitSettings
from tests.conftest import KaggleBuilder, draw_jpeg

COUNTS = {"Tops": 30, "Shirts": 20, "Caps": 10}


def run(path: Path, **options: object) -> DataSet:
    """Prepare a Kaggle data set; every row is kept, or dropped for one reason."""
    settings = DataSettings.model_validate(
        {"source": "kaggle", "path": path, "image_size": 8, **options}
    )
    created = prepare(settings, path.parent / "cache")
    summary = created.summary
    assert summary.rows_read == len(created.manifest) + sum(summary.dropped.values())
    assert sum(summary.images.values()) == len(created.manifest)
    assert sum(summary.images_per_class.values()) == len(created.manifest)
    return created


@pytest.fixture
def clean(kaggle: KaggleBuilder) -> Path:
    return kaggle.folder(counts=COUNTS)


def test_a_clean_source_is_taken_whole(clean: Path) -> None:
    created = run(clean)
    assert created.summary.images_per_class == COUNTS
    assert created.summary.classes == ("Caps", "Shirts", "Tops")
    assert (created.summary.dropped, created.summary.repaired) == ({}, {})
    assert created.findings.empty
    assert not created.summary.synthetic
    assert created.summary.images == {"train": 38, "valid": 10, "test": 12}


def test_the_pixels_belong_to_their_ids(clean: Path) -> None:
    """Each image of each split has its own pixels and label."""
    created = run(clean, min_images_per_class=15, max_images=40)
    labels = dict(zip(created.manifest["id"], created.manifest["label"], strict=True))
    for name in ("train", "valid", "test"):
        split = created.split(name)
        pixels = split.images(np.arange(len(split)))
        for place, image_id in enumerate(split.ids):
            stored = Image.open(clean / f"images/{image_id}.jpg")
            resized = np.asarray(stored.resize((8, 8), Image.Resampling.BILINEAR))
            assert np.array_equal(pixels[place], resized)
            assert created.summary.classes[split.targets[place]] == labels[image_id]


@pytest.mark.parametrize(
    ("least", "kept"), [(10, {"Tops", "Shirts", "Caps"}), (11, {"Tops", "Shirts"})]
)
def test_at_least_so_many_images_keep_a_class(clean: Path, least: int, kept: set[str]) -> None:
    """A class of exactly the minimum size stays, unlike in the published code (off by one)."""
    created = run(clean, min_images_per_class=least)
    assert set(created.summary.classes) == kept
    assert created.summary.dropped == ({} if "Caps" in kept else {classes.SMALL_CLASS: 10})


def test_a_class_that_falls_below_by_broken_images_goes(clean: Path) -> None:
    """The minimum counts usable images, not rows."""
    (clean / "images/1059.jpg").write_bytes(b"broken")
    created = run(clean, min_images_per_class=10)
    assert created.summary.classes == ("Shirts", "Tops")
    assert created.summary.dropped == {classes.SMALL_CLASS: 9, stage.UNREADABLE: 1}


def test_the_largest_classes_stay(clean: Path) -> None:
    created = run(clean, max_classes=2)
    assert created.summary.classes == ("Shirts", "Tops")
    assert created.summary.dropped == {classes.SURPLUS_CLASS: 10}


def test_a_sample_is_in_proportion_and_seeded(clean: Path) -> None:
    def ids(seed: int) -> set[str]:
        split = SplitSettings(seed=seed)
        created = run(clean, max_images=30, split=split)
        assert created.summary.images_per_class == {"Tops": 15, "Shirts": 10, "Caps": 5}
        assert created.summary.dropped == {classes.SURPLUS_IMAGE: 30}
        return set(created.manifest["id"])

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


def test_only_a_sample_is_decoded(clean: Path, tmp_path: Path) -> None:
    """Excluded images are dropped before sampling."""
    everything = run(clean, max_images=30)
    named = tmp_path / "left-out.txt"
    named.write_text(f"{everything.manifest['id'][0]}\n")
    created = run(clean, max_images=30, exclude=named)
    assert len(np.load(created.pixels, mmap_mode="r")) == 30
    assert created.summary.dropped == {EXCLUDED: 1, classes.SURPLUS_IMAGE: 29}
    assert everything.manifest["id"][0] not in set(created.manifest["id"])


def test_photographs_of_all_sizes_are_nothing_odd(kaggle: KaggleBuilder) -> None:
    table, images = kaggle.contents(COUNTS)
    photographs = {name: draw_jpeg(n, 10 + n, 12) for n, name in enumerate(images)}
    created = run(kaggle.folder(table, photographs))
    assert created.summary.repaired == {}


def test_a_sample_never_loses_a_class_unseen(kaggle: KaggleBuilder) -> None:
    path = kaggle.folder(counts={"Tops": 60, "Shirts": 50, "Caps": 3})
    with pytest.raises(DataError, match=r"max_images: 12 leaves no image of class 'Caps'"):
        run(path, max_images=12)


def test_fewer_than_two_classes_are_refused_with_the_sizes(clean: Path) -> None:
    with pytest.raises(DataError, match=r"21 leaves 1 of 3 classes .* largest are Tops 30, Shirts"):
        run(clean, min_images_per_class=21)


def test_no_usable_row_is_refused_with_the_reasons(kaggle: KaggleBuilder) -> None:
    table = "id,articleType\n1,Tops\n2,Shirts\n3,\n"
    path = kaggle.folder(table, {"9": draw_jpeg(9)})
    with pytest.raises(
        DataError, match=r"none of its 3 rows .* \(id without an image 2, no label 1\)"
    ):
        run(path)


def test_everything_odd_is_counted_by_reason(kaggle: KaggleBuilder) -> None:
    """One image of each kind; dropped and kept rows add up to all rows."""
    table, images = kaggle.contents({"Tops": 20, "Shirts": 20})
    grey = io.BytesIO()
    Image.open(io.BytesIO(images["1000"])).convert("L").save(grey, "JPEG")
    images["1000"] = grey.getvalue()
    images["1001"] = b""
    images["1002"] = images["1003"][:200]
    images["1004"] = draw_jpeg(99, 30, 40)
    del images["1005"]
    table += "1006,Tops,again\n,Tops,none\n1,Tops\n../2,Tops,up\n1007,,no label\n"
    table = table.replace("1008,Tops,a Tops", "1008,Tops,a, b")
    summary = run(kaggle.folder(table, images)).summary
    assert summary.rows_read == 45
    assert summary.dropped == {
        stage.UNREADABLE: 2,
        kaggle_reasons.NO_IMAGE: 2,
        selection.DUPLICATE_ID: 1,
        selection.NO_ID: 1,
        kaggle_reasons.UNUSABLE_ID: 1,
        selection.NO_LABEL: 1,
    }
    assert summary.repaired == {
        stage.CONVERTED: 1,
        stage.UNUSUAL_SIZE: 1,
        table_reasons.UNQUOTED_COMMA: 1,
        table_reasons.SHORT_ROW: 1,
    }


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_kept_or_dropped_in_any_mess(kaggle: KaggleBuilder, seed: int) -> None:
    """Whatever is wrong with a table: read = kept + dropped (checked by `run`)."""
    table, images = kaggle.contents({"Tops": 25, "Shirts": 25, "Caps": 8})
    rng = random.Random(seed)
    header, *rows = table.splitlines()
    spoil = [
        lambda row: row,
        lambda row: row + ",more, and more",
        lambda row: row.split(",")[0],
        lambda row: "," + row,
        lambda row: row + "\n" + row,
        lambda row: "../" + row,
        lambda row: row.replace("a ", '"'),
        lambda row: row.replace("T", "\0T").replace("S", "\ufeff S"),
        lambda row: "",
    ]
    # Half of the rows are unchanged, so that two classes are left to split.
    mess = [row if rng.random() < 0.5 else rng.choice(spoil)(row) for row in rows]
    for name in rng.sample(sorted(images), 6):
        images[name] = rng.choice([b"", b"junk", images[name][:100]])
    path = kaggle.folder("\n".join([header, *mess]), images)
    created = run(path, min_images_per_class=6)
    assert len(created.findings) > 0
    assert created.manifest["id"].is_unique


def test_exact_duplicates_stay_on_one_side_unless_asked_otherwise(kaggle: KaggleBuilder) -> None:
    """40 of 80 images are 20 pairs of exact duplicates, one pair with two labels."""
    table, images = kaggle.contents({"Tops": 40, "Shirts": 40})
    for number in (*range(1000, 1019), *range(1040, 1060)):
        images[str(number)] = draw_jpeg(number // 2)
    images["1019"], images["1060"] = draw_jpeg(5), draw_jpeg(5)
    path = kaggle.folder(table, images)
    together = run(path).summary
    assert (together.exact_duplicate_groups, together.exact_duplicate_images) == (20, 40 - 1 + 1)
    assert together.label_conflicts == 1
    assert together.exact_duplicates_across_splits == 0
    apart = run(path, split=SplitSettings(keep_exact_duplicates_together=False)).summary
    assert (apart.exact_duplicate_groups, apart.label_conflicts) == (20, 1)
    assert apart.exact_duplicates_across_splits > 3
    assert apart.fingerprint != together.fingerprint


def test_the_fingerprint_follows_the_data_and_nothing_else(kaggle: KaggleBuilder) -> None:
    """Labels, pixels and splits change it; row order and the archive's format do not."""
    table, images = kaggle.contents({"Tops": 20, "Shirts": 20})
    header, *rows = table.splitlines()
    random.Random(0).shuffle(rows)
    shuffled = "\n".join([header, *rows])
    relabelled = table.replace("1000,Tops", "1000,Shirts")
    repainted = {**images, "1000": draw_jpeg(12345)}
    first = run(kaggle.folder(table, images)).summary.fingerprint
    assert run(kaggle.zip(shuffled, images)).summary.fingerprint == first
    others = [
        run(kaggle.folder(relabelled, images, name="relabelled")),
        run(kaggle.folder(table, repainted, name="repainted")),
        run(kaggle.folder(table, images), split=SplitSettings(seed=1)),
    ]
    assert len({first, *(created.summary.fingerprint for created in others)}) == 4


def test_the_fingerprint_of_a_manifest_is_that_of_its_rows(clean: Path) -> None:
    created = run(clean)
    backwards = created.manifest.iloc[::-1]
    assert fingerprint(backwards) == created.summary.fingerprint
    assert fingerprint(created.manifest.iloc[1:]) != created.summary.fingerprint


def test_the_demo_is_prepared_like_any_source(tmp_path: Path) -> None:
    settings = DataSettings.model_validate(
        {"image_size": 16, "demo": {"images_per_class": 8, "seed": 3}}
    )
    first = prepare(settings, tmp_path / "one").summary
    assert first.synthetic
    assert "synthetic" in first.title
    assert len(first.classes) == 11
    assert set(first.images_per_class.values()) == {8}
    assert first.dropped == {}
    assert prepare(settings, tmp_path / "two").summary == first


def test_targets_can_be_handed_to_torch(clean: Path, recwarn: pytest.WarningsRecorder) -> None:
    split = run(clean).split("train")
    assert split.targets.flags.writeable
    torch.from_numpy(split.targets)
    assert not recwarn.list


def test_what_is_missing_is_one_sentence(clean: Path, tmp_path: Path) -> None:
    created = run(clean)
    with pytest.raises(DataError, match="no split 'dev'"):
        created.split("dev")
    with pytest.raises(DataError, match="decoded images cannot be opened"):
        SplitImages.open(created.manifest, created.summary.classes, tmp_path / "none.npy", "test")


def test_a_class_is_cut_to_so_many_before_anything_is_decoded(clean: Path) -> None:
    """Seeded, after classes are chosen by their full size; other images are never read."""

    def ids(seed: int, most: int = 8) -> set[str]:
        split = SplitSettings(seed=seed)
        options = {"max_images_per_class": most, "min_images_per_class": 15, "max_classes": 2}
        created = run(clean, split=split, **options)
        assert created.summary.images_per_class == {"Tops": most, "Shirts": most}
        assert created.summary.dropped[classes.SURPLUS_OF_CLASS] == 50 - 2 * most
        assert len(np.load(created.pixels, mmap_mode="r")) == 2 * most
        return set(created.manifest["id"])

    assert ids(0) == ids(0)
    assert ids(0) != ids(1)
    assert ids(0) < ids(0, most=12)


def folder_of(path: Path, counts: dict[str, int]) -> Path:
    """Folder with the given number of different images in each `split/class`."""
    seed = 0
    for name, count in counts.items():
        (path / name).mkdir(parents=True)
        for number in range(count):
            seed += 1
            (path / name / f"{number}.jpg").write_bytes(draw_jpeg(seed))
    return path


GIVEN = {"train/a": 20, "train/b": 10, "test/a": 6, "test/b": 4}


def test_a_split_that_is_given_is_kept_and_completed(tmp_path: Path) -> None:
    created = run(folder_of(tmp_path / "data", GIVEN), source="folder")
    assert created.summary.images == {"train": 24, "valid": 6, "test": 10}
    saved = created.manifest[created.manifest["split"] == "test"]
    assert all(name.startswith("test/") for name in saved["id"])
    assert (
        created.summary.split_note
        == "test given by the source; valid drawn from its training split"
    )


def test_a_split_that_is_given_can_be_ignored(tmp_path: Path) -> None:
    split = {"given": "ignore"}
    created = run(folder_of(tmp_path / "data", GIVEN), source="folder", split=split)
    assert created.summary.images == {"train": 26, "valid": 6, "test": 8}
    assert created.summary.split_note == ""


@pytest.mark.parametrize("limit", [{"max_images": 20}, {"max_images_per_class": 10}])
def test_a_sample_takes_of_every_given_split(tmp_path: Path, limit: dict[str, int]) -> None:
    created = run(folder_of(tmp_path / "data", GIVEN), source="folder", **limit)
    assert created.summary.images["test"] in (5, 6)
    assert created.summary.split_note.startswith("test given by the source")


def test_exact_duplicates_across_given_splits_are_reported_and_not_moved(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "data", GIVEN)
    (path / "test/a/0.jpg").write_bytes((path / "train/a/0.jpg").read_bytes())
    created = run(path, source="folder")
    assert created.summary.images["test"] == 10
    assert created.summary.exact_duplicates_across_splits == 1


def test_heic_is_left_out_with_its_own_reason(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "data", {"a": 10, "b": 10})
    (path / "a/phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (path / "b/broken.jpg").write_bytes(b"broken")
    created = run(path, source="folder")
    assert created.summary.dropped == {HEIC: 1, stage.UNREADABLE: 1}


def test_a_data_set_of_which_nothing_decodes_is_refused(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "data", {"a": 2, "b": 2})
    for file in path.glob("*/*.jpg"):
        file.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"none of its 4 images can be decoded; the first, a/0\."):
        run(path, source="folder")


def test_the_real_data_set_is_known(real_zip: Path, tmp_path: Path) -> None:
    """The figures that the documentation gives for the published data set, from its archive."""
    settings = DataSettings(source="kaggle", path=real_zip, min_images_per_class=900, image_size=16)
    summary = prepare(settings, tmp_path / "cache").summary
    assert len(summary.classes) == 12
    assert sum(summary.images.values()) == 27_283
    assert summary.rows_read == 44_072
    assert summary.images_per_class["Tshirts"] == 7065
    assert (summary.exact_duplicate_groups, summary.exact_duplicate_images) == (513, 1121)
    assert (summary.label_conflicts, summary.exact_duplicates_across_splits) == (3, 0)
    for label, count in summary.images_per_class.items():
        assert count >= 900, label
    assert abs(summary.images["test"] - 0.2 * 27_283) < 8
    assert abs(summary.images["valid"] - 0.16 * 27_283) < 8
