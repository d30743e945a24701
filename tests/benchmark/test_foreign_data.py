"""Data that bench has never seen run by config alone: by the configs that the document shows."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.benchmark.conftest import Finished, environment, run_bench
from tests.conftest import draw_jpeg

DOCUMENT = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text("utf-8")
QUICK = ("data.image_size=32", "model.weights=none", "train.epochs=1", "measure=false")


def block(language: str, first_line: str) -> str:
    """The document's block of code that begins with a line."""
    result = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.S)
    (text,) = [text for text in result if text.startswith(first_line)]
    return text


def run(folder: Path, *arguments: str) -> Finished:
    """`bench …` in a folder in which packages may be installed."""
    variables = {**environment(), "PYTHONPATH": str(folder / "site")}
    return run_bench(folder, *arguments, variables=variables, forked=True)


def study(folder: Path, name: str) -> dict[str, object]:
    """Run a config of the document on a tiny architecture; what its record says of the data."""
    (folder / f"{name}.yaml").write_text(block("yaml", f"# {name}.yaml"))
    settings = [part for key in (*QUICK, "device=cpu") for part in ("--set", key)]
    done = run(folder, "run", "test_resnet", "-c", f"{name}.yaml", *settings)
    assert done.code == 0, done.err
    (record,) = (folder / "mlruns").glob("runs/*/*/record.json")
    result: dict[str, object] = json.loads(record.read_text())["spec"]["data_summary"]
    return result


def test_images_that_shrink_a_lot_are_warned_of(tmp_path: Path) -> None:
    """Photographs at less than a third of their size may lose detail that separates classes."""
    for label in ("cats", "dogs"):
        for number in range(10):
            file = tmp_path / "pets" / label / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            shade = 20 * number + 5 * (label == "cats")
            Image.new("RGB", (400, 300), (shade, shade, shade)).save(file)
    (tmp_path / "pets.yaml").write_text(block("yaml", "# pets.yaml"))

    def warned(size: int) -> bool:
        changed = ("model.weights=none", "device=cpu", f"data.image_size={size}")
        settings = [part for key in changed for part in ("--set", key)]
        done = run_bench(tmp_path, "run", "test_resnet", "-c", "pets.yaml", "--dry-run", *settings)
        assert done.code == 0, done.err
        return (
            f"stored at 300 px (median of the shorter side) and downscaled to {size} px" in done.err
        )

    assert warned(96)
    assert not warned(100)


@pytest.mark.slow
def test_a_folder_with_splits(tmp_path: Path) -> None:
    """Train and test folders, as they are so often: validation is drawn from train."""
    for split, count in (("train", 10), ("test", 4)):
        for place, label in enumerate(("cats", "dogs")):
            folder = tmp_path / "pets" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 1000 * place + 10 * number + len(split)
                (folder / f"{number}.jpg").write_bytes(draw_jpeg(seed))
    result = study(tmp_path, "pets")
    assert result["images"] == {"train": 16, "valid": 4, "test": 8}
    assert result["split_note"] == "test given by the source; valid drawn from its training split"
    assert result["classes"] == ["cats", "dogs"]


@pytest.mark.slow
def test_a_table_with_a_column_of_splits(tmp_path: Path) -> None:
    photos = tmp_path / "birds" / "photos"
    photos.mkdir(parents=True)
    rows = []
    for number in range(24):
        (photos / f"{number:03}.jpg").write_bytes(draw_jpeg(number))
        part = ("train", "train", "val", "test")[number // 2 % 4]
        rows.append((f"photos/{number:03}.jpg", ("robin", "wren")[number % 2], "garden", part))
    rows += [("photos/none.jpg", "wren", "garden", "train"), ("photos/001.jpg", "", "", "")]
    with (photos.parent / "birds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "species", "place", "part"), *rows])
    result = study(tmp_path, "birds")
    assert result["images"] == {"train": 12, "valid": 6, "test": 6}
    assert result["dropped"] == {"path without a file": 1, "no label": 1}
    assert result["split_note"] == "train, valid and test given by the source"


def test_parquet_files_as_the_hub_has_them(tmp_path: Path) -> None:
    """Bytes of images, and numbers of classes whose names stand in the footer."""
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["oak", "ash", "elm"]},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split, first, count in (("train", 0, 30), ("test", 100, 9)):
        numbers = range(first, first + count)
        table = pa.table(
            {
                "image": [{"bytes": draw_jpeg(number), "path": None} for number in numbers],
                "label": [number % 3 for number in numbers],
            }
        ).replace_schema_metadata(metadata)
        place = tmp_path / "leaves" / "data" / f"{split}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place)
    result = study(tmp_path, "leaves")
    assert result["classes"] == ["ash", "elm", "oak"]
    assert result["images"] == {"train": 24, "valid": 6, "test": 9}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with the document's plug-in installed, as pip leaves it, and data for it."""
    site = tmp_path / "site"
    info = site / "bench_shelf-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "shelf.py").write_text(block("python", "# shelf.py"))
    points = re.search(r'entry-points\."bench\.sources"\]\nshelf = "(.*)"', DOCUMENT)
    assert points is not None
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-shelf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench.sources]\nshelf = {points[1]}\n")
    np.savez(
        tmp_path / "shelf.npz",
        pixels=np.random.default_rng(0).integers(0, 256, (20, 16, 12, 3), dtype=np.uint8),
        names=[f"n{number}" for number in range(20)],
        kinds=["jar", "tin"] * 10,
    )
    return tmp_path


def test_a_source_of_another_package(shelf: Path) -> None:
    (shelf / "shelf.yaml").write_text(block("yaml", "# shelf.yaml"))
    done = run(shelf, "data", "stats", "-c", "shelf.yaml", "--manifest", "m.csv")
    assert done.code == 0, done.err
    assert "20 read, 20 images kept" in done.out
    with (shelf / "m.csv").open() as file:
        saved = {row["id"]: row["label"] for row in csv.DictReader(file)}
    assert saved == {f"n{number}": ("jar", "tin")[number % 2] for number in range(20)}


def test_a_package_that_fails_is_one_sentence(shelf: Path) -> None:
    (shelf / "site" / "shelf.py").write_text("def open_shelf(settings):\n    raise KeyError('x')\n")
    (shelf / "shelf.yaml").write_text(block("yaml", "# shelf.yaml"))
    done = run(shelf, "data", "stats", "-c", "shelf.yaml")
    assert (done.code, "Traceback" in done.err) == (2, False)
    assert done.err.count("plug-in 'shelf' (shelf:open_shelf): failed with KeyError: 'x'") == 1


@pytest.mark.parametrize("name", ["summer", "shares", "groups", "pets", "birds", "leaves", "shelf"])
def test_every_config_of_the_document_is_valid(name: str, tmp_path: Path) -> None:
    from benchmark.config.study import load_study

    (tmp_path / "c.yaml").write_text(block("yaml", f"# {name}.yaml"))
    assert load_study(tmp_path / "c.yaml").study == name


# Bad input: one sentence, exit code 2, nothing decoded in vain


def refusal(folder: Path, *settings: str) -> str:
    (folder / "c.yaml").write_text("study: s\narchitectures: [test_resnet]\n")
    flags = [part for setting in settings for part in ("--set", setting)]
    done = run(folder, "data", "stats", "-c", "c.yaml", *flags)
    assert done.code == 2, done
    assert "Traceback" not in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("bench: ")]
    return line


def images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_jpeg(number))


FOLDER = ("data.source=folder", "data.path=data")
TABLE = ("data.source=table", "data.path=data/t.csv", "data.label=kind")


def test_a_folder_of_one_class(tmp_path: Path) -> None:
    images(tmp_path, "cats/1.jpg", "cats/2.jpg")
    result = refusal(tmp_path, *FOLDER)
    assert "all 2 usable images belong to one class, 'cats'; at least 2 are required" in result


def test_a_folder_of_mixed_depth(tmp_path: Path) -> None:
    images(tmp_path, "cats/1.jpg", "dogs/small/1.jpg")
    assert "1 of 2 images are deeper than the class folders" in refusal(tmp_path, *FOLDER)


def test_a_folder_of_nothing_but_heic(tmp_path: Path) -> None:
    for name in ("cats/1.heic", "dogs/1.heic"):
        images(tmp_path, name)
        (tmp_path / "data" / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    result = refusal(tmp_path, *FOLDER)
    assert "none of its 2 images can be decoded; the first, cats/1.heic: HEIC or AVIF" in result
    assert "convert to JPEG" in result


def test_a_table_whose_paths_are_all_missing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").write_text("path,kind\na.jpg,x\nb.jpg,y\n")
    result = refusal(tmp_path, *TABLE)
    assert "none of its 2 rows has an id, a label and an image (path without a file 2)" in result
    assert "the first: a.jpg" in result


def test_a_label_of_ten_thousand_values(tmp_path: Path) -> None:
    """Refused before anything is decoded, with the number that would leave few enough."""
    images(tmp_path, "1.jpg")
    rows = []
    for number in range(10_000):
        if number != 1:
            (tmp_path / "data" / f"{number}.jpg").hardlink_to(tmp_path / "data" / "1.jpg")
        rows.append(f"{number}.jpg,{number if number > 40 else number % 4}")
    (tmp_path / "data" / "t.csv").write_text("path,kind\n" + "\n".join(rows) + "\n")
    result = refusal(tmp_path, *TABLE)
    assert "9,963 classes of 'kind' in 10,000 images are too many: at most 1,000" in result
    assert "data.min_images_per_class (2 leaves 4) or data.max_classes" in result


def test_a_source_that_is_none(tmp_path: Path) -> None:
    assert "unknown source 'imagefolder' (did you mean folder" in refusal(
        tmp_path, "data.source=imagefolder"
    )


def test_what_is_found_is_reported_by_reason(tmp_path: Path) -> None:
    """Unreadable ones are left out by reason, and the others are described with their balance."""
    images(tmp_path, *(f"cats/{n}.jpg" for n in range(8)))
    images(tmp_path, *(f"dogs/{n}.jpg" for n in range(5)))
    (tmp_path / "data/cats/0.jpg").write_bytes(b"broken")
    clear = Image.fromarray(np.full((9, 9, 4), 77, dtype=np.uint8))
    clear.save(tmp_path / "data/dogs/x.png")
    (tmp_path / "c.yaml").write_text("study: s\narchitectures: [test_resnet]\n")
    flags = [part for setting in FOLDER for part in ("--set", setting)]
    done = run(tmp_path, "data", "stats", "-c", "c.yaml", *flags)
    assert done.code == 0, done.err
    assert "14 read, 13 images kept" in done.out
    assert "dropped      1: image does not decode" in done.out
    assert "repaired     1: image converted to RGB" in done.out
    assert "2, from 6 (dogs) to 7 images (cats); always predicting cats" in done.out


def write_pets(folder: Path, labels: tuple[str, ...], ids: tuple[str, ...] = ()) -> None:
    """Images in a folder for each class, and a study of them; `ids` names the first few."""
    for place, label in enumerate(labels):
        (folder / "pets" / label).mkdir(parents=True, exist_ok=True)
        for number in range(10):
            name = ids[number] if number < len(ids) else f"{number}.jpg"
            (folder / "pets" / label / name).write_bytes(draw_jpeg(100 * place + number))
    (folder / "pets.yaml").write_text(
        "study: pets\ndata: {source: folder, path: pets, image_size: 32}\n"
        "architectures: [test_resnet]\nmodel: {weights: none}\ntrain: {epochs: 1}\n"
        "device: cpu\nmeasure: false\n"
    )


def test_names_that_are_not_utf8_are_left_out_and_counted(tmp_path: Path) -> None:
    """In a class, and a class of them: by `data stats` and by `run`."""
    latin = os.fsdecode(b"caf\xe9.jpg")
    write_pets(tmp_path, ("cats", "dogs", os.fsdecode(b"m\xf6wen")), (latin,))
    outputs = ("--findings", "f.csv", "--manifest", "m.csv")
    done = run_bench(tmp_path, "data", "stats", "-c", "pets.yaml", *outputs)
    assert done.code == 0, done.err
    assert re.search(r"12\W+file name is not plain text|name is not plain text\W+12", done.out)
    result = list(csv.DictReader((tmp_path / "f.csv").open(encoding="utf-8")))
    assert "cats/caf\\udce9.jpg" in {row["image_id"] for row in result}
    assert len(list(csv.DictReader((tmp_path / "m.csv").open(encoding="utf-8")))) == 18
    done = run_bench(tmp_path, "run", "--all", "-c", "pets.yaml")
    assert done.code == 0, done.err
    for form in ("csv", "json"):
        output = tmp_path / f"out.{form}"
        done = run_bench(tmp_path, "predict", "pets/cats", "-c", "pets.yaml", "-o", str(output))
        assert done.code == 0, done.err
        assert "caf\\udce9.jpg" in output.read_text("utf-8")
    assert any(item["file"] == f"pets/cats/{latin}" for item in json.loads(output.read_text()))
    done = run_bench(tmp_path, "predict", "pets/cats", "-c", "pets.yaml", "--run", latin)
    assert (done.code, done.err.count("bench: ")) == (2, 1), done.err
    model = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    done = run_bench(tmp_path, "export", "-c", "pets.yaml", "-o", str(model))
    assert done.code == 0, done.err
    assert model.is_file()


def test_a_folder_whose_name_is_not_utf8_is_refused_for_results_and_no_more(tmp_path: Path) -> None:
    """Records name the folder of results; data may lie in such a folder."""
    here = tmp_path / os.fsdecode(b"m\xf6wen")
    here.mkdir()
    write_pets(here, ("cats", "dogs"))
    done = run_bench(here, "data", "stats", "-c", "pets.yaml")
    assert done.code == 2, done.err
    assert "tracking.folder: " in done.err
    assert "the name is not valid UTF-8" in done.err
    elsewhere = ("--set", f"tracking.folder={tmp_path / 'results'}")
    done = run_bench(here, "data", "stats", "-c", "pets.yaml", *elsewhere)
    assert done.code == 0, done.err


def test_ids_and_labels_are_no_formulas_in_any_csv(tmp_path: Path) -> None:
    """Nor in a run's folder; and what is written can be named in `data.exclude`."""
    write_pets(tmp_path, ("=1+1", "@cats", "-dogs"), ("bad.jpg",))
    for label in ("=1+1", "@cats"):
        (tmp_path / "pets" / label / "bad.jpg").write_bytes(b"no image")
    done = run_bench(tmp_path, "run", "--all", "-c", "pets.yaml")
    assert done.code == 0, done.err
    outputs = ("--findings", "f.csv", "--manifest", "m.csv")
    assert run_bench(tmp_path, "data", "stats", "-c", "pets.yaml", *outputs).code == 0
    assert run_bench(tmp_path, "data", "audit", "-c", "pets.yaml", "--csv", "s.csv").code == 0
    images = [f"pets/{label}/3.jpg" for label in ("@cats", "-dogs")]
    done = run_bench(tmp_path, "predict", *images, "-c", "pets.yaml", "-o", "p.csv")
    assert done.code == 0, done.err
    (own,) = (tmp_path / "mlruns").glob("runs/*/*/findings.csv")
    for file in (*tmp_path.glob("*.csv"), own):
        rows = list(csv.reader(file.open(encoding="utf-8", newline="")))
        assert not [cell for row in rows for cell in row if cell[:1] in ("=", "@")], file
        assert not [cell for row in rows for cell in row if cell.startswith("-d")], file
    assert "'=1+1/bad.jpg" in own.read_text("utf-8")
    excluding = ("--set", "data.exclude=m.csv", "--set", "data.max_images=20")
    (tmp_path / "m.csv").write_text("id\n'=1+1/3.jpg\n'@cats/3.jpg\n")
    done = run_bench(tmp_path, "data", "stats", "-c", "pets.yaml", *excluding)
    assert re.search(r"excluded by the user\W+2|2\W+excluded by the user", done.out), done.out


def test_equal_data_have_equal_findings(tmp_path: Path) -> None:
    """No address of an object in what a decoder says of a file that is no image."""
    write_pets(tmp_path, ("cats", "dogs"), ("bad.jpg",))
    (tmp_path / "pets/cats/bad.jpg").write_bytes(b"no image")
    texts = set()
    for folder in ("a", "b"):
        more = ("--set", f"tracking.folder={folder}", "--findings", f"{folder}.csv")
        assert run_bench(tmp_path, "data", "stats", "-c", "pets.yaml", *more).code == 0
        texts.add((tmp_path / f"{folder}.csv").read_text())
    (text,) = texts
    assert "cannot identify image file" in text
    assert " at 0x" not in text
