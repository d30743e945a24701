"""`bench init` writes a config that bench reads as it is, or says why it cannot."""

from __future__ import annotations

import csv
import shutil
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.config.study import StudySettings, load_study
from benchmark.workflows.init_study import init_config, quoted, study_name, suggested_size
from clothclf.data.prepare import prepare
from clothclf.data.sources import Listing, Query, open_source
from clothclf.data.sources.demo_source import write_demo
from clothclf.data.survey import suggested_minimum, survey
from clothclf.errors import DataError
from clothclf.settings import DataSettings, SplitSettings
from clothclf.settings.data import BUILT_IN_SOURCES, BuiltInSource
from tests.benchmark.conftest import run_bench
from tests.conftest import draw_jpeg

PER_CLASS = 8


def write_folders(top: Path, names: Sequence[str], per_class: int = PER_CLASS) -> None:
    for place, name in enumerate(names):
        (top / name).mkdir(parents=True)
        for number in range(per_class):
            (top / name / f"{number}.jpg").write_bytes(draw_jpeg(100 * place + number, 40, 50))


def folders(top: Path) -> Path:
    write_folders(top / "pets", ["cats", "dogs"])
    return top / "pets"


def folders_with_splits(top: Path) -> Path:
    for number, split in enumerate(("train", "val", "test")):
        write_folders(top / "pets" / split, ["cats", "dogs"], 6 + number)
    return top / "pets"


def zipped(top: Path) -> Path:
    write_folders(top / "pets", ["cats", "dogs"])
    return Path(shutil.make_archive(str(top / "pets"), "zip", top, "pets"))


def write_table(
    path: Path, label: str = "label", image: str = "path", more: Mapping[str, str] | None = None
) -> Path:
    """A CSV of two classes; `more` has other columns, with `{n}` for the number of the row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "photos").mkdir()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        others = more or {}
        writer.writerow([image, label, *others])
        for number in range(20):
            (path.parent / f"photos/{number}.jpg").write_bytes(draw_jpeg(number, 40, 50))
            values = [text.format(n=number, half=number % 2) for text in others.values()]
            writer.writerow([f"photos/{number}.jpg", ("robin", "wren")[number % 2], *values])
    return path


def table(top: Path) -> Path:
    return write_table(top / "birds/birds.csv", "species", "path", {"caption": "bird {n}"})


def folder_of_table(top: Path) -> Path:
    return write_table(top / "birds/birds.csv", "species").parent


def hub(top: Path) -> Path:
    """Parquet files with encoded images and named classes, in two splits."""
    (top / "leaves/data").mkdir(parents=True)
    names = '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["oak", "elm"]}}}}'
    for split, start in (("train", 0), ("test", 40)):
        cells = [{"bytes": draw_jpeg(n, 70, 60), "path": "x.jpg"} for n in range(start, start + 20)]
        content = pa.table({"image": cells, "label": [n % 2 for n in range(20)]})
        content = content.replace_schema_metadata({"huggingface": names})
        pq.write_table(content, top / f"leaves/data/{split}-00000-of-00001.parquet")
    return top / "leaves"


def hub_file(top: Path) -> Path:
    return hub(top) / "data/train-00000-of-00001.parquet"


def kaggle(top: Path) -> Path:
    write_demo(top / "fashion", 8, 0)
    return top / "fashion"


LAYOUTS: dict[Callable[[Path], Path], tuple[str, int]] = {
    folders: ("folder", 2),
    folders_with_splits: ("folder", 2),
    zipped: ("folder", 2),
    table: ("table", 2),
    folder_of_table: ("table", 2),
    hub: ("hub", 2),
    hub_file: ("hub", 2),
    kaggle: ("kaggle", 11),
}


class Strips:
    """A source of one file: lines of a class and the colour of its image."""

    title, synthetic = "strips", False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [line.split() for line in path.read_text().splitlines()]

    def list_images(self, query: Query) -> Listing:
        classes = [label for label, _ in self.lines]
        return Listing(list(map(str, range(len(classes)))), dict.fromkeys(query.columns, classes))

    def read_bytes(self, image_id: str) -> bytes:
        return draw_jpeg(int(self.lines[int(image_id)][1]), 40, 50)

    def stamp(self) -> str:
        return str(self.path.stat().st_mtime_ns)


def test_a_built_in_source_is_a_module_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings and the error for an unknown source have it then."""
    module = types.ModuleType("clothclf.data.sources.strips_source")
    vars(module)["open_source"] = lambda settings, cache: Strips(settings.path)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = BuiltInSource("strips", "coloured strips", "the file", has_groups=False)
    monkeypatch.setitem(BUILT_IN_SOURCES, entry.name, entry)
    file = tmp_path / "a.strips"
    file.write_text("".join(f"{'xy'[n % 2]} {n}\n" for n in range(40)))
    data = prepare(DataSettings(source="strips", path=file, label="class"), tmp_path / "cache")
    assert data.summary.classes == ("x", "y")
    with pytest.raises(ValueError, match=r"source strips requires data\.path: the file"):
        DataSettings(source="strips")
    with pytest.raises(ValueError, match=r"source strips takes no data\.split\.group"):
        DataSettings(source="strips", path=file, split=SplitSettings(group="a"))
    with pytest.raises(DataError, match=r"did you mean strips\?.*table, hub, strips; plug-ins"):
        open_source(DataSettings(source="strip", path=file), tmp_path)


def written(folder: Path, *arguments: str) -> StudySettings:
    """Run `bench init` in a folder, and read what it wrote."""
    done = run_bench(folder, "init", *arguments)
    assert done.code == 0, done.err
    return load_study(folder / "bench.yaml")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_the_config_is_accepted_unchanged(
    layout: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run, and the data of the study have the classes that init counted."""
    path = layout(tmp_path).relative_to(tmp_path)
    study = written(tmp_path, str(path))
    assert (study.data.source, study.data.path is not None) == (LAYOUTS[layout][0], True)
    planned = run_bench(tmp_path, "run", "--all", "--dry-run", "-c", "bench.yaml")
    assert planned.code == 0, planned.err
    monkeypatch.chdir(tmp_path)
    data = prepare(study.data, tmp_path / "cache")
    assert len(data.summary.classes) == LAYOUTS[layout][1]


def test_comments_say_what_was_found(tmp_path: Path) -> None:
    path = write_table(tmp_path / "b/birds.csv", "species", more={"sex": "{half}", "id": "{n}"})
    done = run_bench(tmp_path, "init", str(path), "-o", "-")
    assert done.code == 0, done.err
    assert "  label: species\n" in done.out
    assert "# Other columns with classes: sex (2)\n" in done.out
    assert "# Largest classes: robin 10, wren 10\n" in done.out
    assert "40 to 40 pixels, median 40" in done.out
    assert "  image_size: 48 " in done.out
    assert not (tmp_path / "bench.yaml").exists()


def test_a_usual_name_of_the_label_comes_before_others(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a/t.csv", "category", more={"colour": "{half}"})
    assert survey(path).label == "category"
    path = write_table(tmp_path / "b/t.csv", "colour", more={"Label": "{half}"})
    assert survey(path).label == "Label"


def test_ids_captions_and_paths_are_no_labels(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a/t.csv", "kind", more={"label": "bird {n}", "x": "always"})
    result = survey(path)
    assert (result.label, result.others) == ("kind", ())


def test_the_label_can_be_named(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", "species", more={"sex": "{half}"})
    assert written(tmp_path, "t.csv", "--label", "sex").data.label == "sex"
    done = run_bench(tmp_path, "init", "t.csv", "--label", "sexx", "--force")
    assert done.code == 2
    assert "no column 'sexx' (did you mean sex?)" in done.err


def test_an_image_column_is_found_by_its_values(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", image="where it is")
    assert written(tmp_path, "t.csv").data.image == "where it is"


def test_a_split_column_is_used_and_is_no_label(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", "kind", more={"part": "{n}"})
    rows = path.read_text().splitlines()
    splits = ["part", *(("train", "train", "test", "valid")[n // 2 % 4] for n in range(20))]
    lines = [f"{row.rpartition(',')[0]},{split}" for row, split in zip(rows, splits, strict=True)]
    path.write_text("\n".join(lines))
    study = written(tmp_path, "t.csv")
    assert (study.data.split.column, study.data.label) == ("part", "kind")


def test_given_splits_without_training_images_of_a_class_are_ignored(tmp_path: Path) -> None:
    write_folders(tmp_path / "p/train", ["cats"])
    write_folders(tmp_path / "p/test", ["dogs", "cats"])
    study = written(tmp_path, "p")
    assert study.data.split.given == "ignore"
    assert "# The given split is not usable: " in (tmp_path / "bench.yaml").read_text()


@pytest.mark.parametrize(
    "name", ["a: b", "#x", "yes", "a\u2028b", "'q\"", "{{x}}", "*a", "!!python/x", "- a", "né", "~"]
)
def test_hostile_column_names_are_quoted(name: str, tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", "kind", more={name: "{half}"})
    if "\u2028" in name:
        done = run_bench(tmp_path, "init", "t.csv", "--label", name)
        assert done.code == 2
        assert "is not plain text" in done.err
    else:
        assert written(tmp_path, "t.csv", "--label", name).data.label == name


@pytest.mark.parametrize("name", ["a: b #c", "x\n  source: demo", "'\"", "-", "{a}", "ü 1"])
def test_hostile_paths_are_quoted(name: str, tmp_path: Path) -> None:
    write_folders(tmp_path / name, ["cats", "do: gs # x"])
    study = written(tmp_path, f"./{name}")
    assert study.data.path == Path(name)
    assert study.data.source == "folder"


@pytest.mark.parametrize("text", ["no", "1e3", "0x1", "2020-01-01", "a\nb", "", " a", "é", "null"])
def test_quoted_text_is_read_as_it_was(text: str) -> None:
    import yaml

    assert yaml.safe_load(f"x: {quoted(text)}") == {"x": text}


def test_it_refuses_to_overwrite(tmp_path: Path) -> None:
    write_folders(tmp_path / "p", ["cats", "dogs"])
    (tmp_path / "bench.yaml").write_text("mine")
    done = run_bench(tmp_path, "init", "p")
    assert (done.code, (tmp_path / "bench.yaml").read_text()) == (2, "mine")
    assert "bench.yaml exists" in done.err
    assert run_bench(tmp_path, "init", "p", "--force").code == 0
    assert "study: p" in (tmp_path / "bench.yaml").read_text()


def nothing(top: Path) -> None:
    top.mkdir()


def texts(top: Path) -> None:
    top.mkdir()
    (top / "notes.txt").write_text("no images")


def flat(top: Path) -> None:
    write_folders(top.parent, [top.name])


def one_class(top: Path) -> None:
    write_folders(top, ["cats"])


def few_images(top: Path) -> None:
    write_folders(top, ["cats", "dogs"], 2)


def broken_images(top: Path) -> None:
    for name in ("cats", "dogs"):
        (top / name).mkdir(parents=True)
        for number in range(8):
            (top / name / f"{number}.jpg").write_bytes(b"nothing")


def table_without_classes(top: Path) -> None:
    path = write_table(top / "t.csv", "path2", more={"n": "{n}"})
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"{line.partition(',')[0]},{n}" for n, line in enumerate(lines)))


def table_without_files(top: Path) -> None:
    shutil.rmtree(write_table(top / "t.csv").parent / "photos")


def broken_zip(top: Path) -> None:
    top.write_bytes(b"PK no archive")


BAD: dict[Callable[[Path], None], str] = {
    nothing: "has no images",
    texts: "has no images",
    flat: "in no class folder",
    one_class: "all 8 usable images belong to one class, 'cats'",
    few_images: "has fewer than 2 classes with at least 5 images each",
    broken_images: "none of 16 images read as a sample can be decoded",
    table_without_classes: "no column looks like classes",
    table_without_files: "path without a file",
    broken_zip: "is not a readable zip archive",
    lambda top: None: "does not exist",
}


@pytest.mark.parametrize("layout", BAD, ids=lambda layout: layout.__name__)
def test_what_cannot_be_used_is_explained_in_one_sentence(
    layout: Callable[[Path], None], tmp_path: Path
) -> None:
    layout(tmp_path / "bad")
    done = run_bench(tmp_path, "init", "bad")
    assert done.code == 2, done.out
    assert BAD[layout] in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "bench.yaml").exists()


def test_a_surrogate_in_the_path_is_refused() -> None:

    with pytest.raises(DataError, match="is not UTF-8"):
        init_config(Path("caf\udce9"), None, "bench.yaml")


def test_suggestions() -> None:
    assert [suggested_size(side) for side in (20, 60, 64, 300)] == [32, 64, 64, 224]
    assert suggested_minimum([500, 400, 3]) == 100
    assert suggested_minimum([12, 11, 9]) == 5
    assert suggested_minimum([6, 5]) == 5
    assert suggested_minimum(range(2000, 0, -1)) == 1001
    assert study_name(Path("a b/ü (1).zip")) == "1"


def test_the_real_archive(real_zip: Path, tmp_path: Path) -> None:
    done = run_bench(tmp_path, "init", str(real_zip))
    assert done.code == 0, done.err
    study = load_study(tmp_path / "bench.yaml")
    assert (study.data.source, study.data.label) == ("kaggle", "articleType")
    planned = run_bench(tmp_path, "run", "--all", "--dry-run", "-c", "bench.yaml")
    assert planned.code == 0, planned.err
