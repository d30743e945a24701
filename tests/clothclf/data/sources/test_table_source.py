"""Tables of image paths and labels: images are read below the table's folder and nowhere else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from clothclf.data.sources import selection
from clothclf.data.sources import table_source as reasons
from clothclf.data.sources.listing import Query
from clothclf.data.sources.selection import Chosen, choose
from clothclf.data.sources.table_source import TableSource
from clothclf.errors import DataError

WANTED = Query("label")


def write(place: Path, table: str, images: tuple[str, ...] = ("a/1.jpg", "2.jpg")) -> Path:
    """Write a CSV and images that contain their own names."""
    folder = place / "data"
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "table.csv").write_text(table)
    return folder / "table.csv"


def read(path: Path, wanted: Query = WANTED, image: str | None = None) -> Chosen:
    """List a table; every row is either kept or dropped."""
    source = TableSource(path, image)
    listing = choose(source.list_images(wanted), wanted, source.title)
    dropped = [finding for finding in listing.findings if finding.action == "dropped"]
    assert listing.rows_read == len(listing.rows) + len(dropped)
    return listing


def fault(path: Path, image: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(path, image=image)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["path", "File", "file_name", "image"])
def test_the_usual_columns_of_paths_are_found(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"label,{name}\ncat,a/1.jpg\ndog,2.jpg\n")
    rows = read(path).rows
    assert rows["id"].tolist() == ["a/1.jpg", "2.jpg"]
    assert rows["label"].tolist() == ["cat", "dog"]
    assert TableSource(path, None).read_bytes("a/1.jpg") == b"a/1.jpg"


def test_another_column_of_paths_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "label,where,path\ncat,a/1.jpg,x\n")
    assert read(path, image="where").rows["id"].tolist() == ["a/1.jpg"]
    assert "no column 'wher' (did you mean where?)" in fault(path, image="wher")


def test_without_a_column_of_paths_the_columns_are_named(tmp_path: Path) -> None:
    message = fault(write(tmp_path, "label,where\ncat,a/1.jpg\n"))
    assert "cannot determine the column of image paths; set data.image" in message
    assert "one of its columns: label, where" in message


@pytest.mark.parametrize(
    ("written", "name"),
    [("./a/1.jpg", "a/1.jpg"), ("a/../2.jpg", "2.jpg"), ("a\\1.jpg", "a/1.jpg")],
)
def test_a_path_is_written_in_several_ways(tmp_path: Path, written: str, name: str) -> None:
    assert read(write(tmp_path, f"path,label\n{written},cat\n")).rows["id"].tolist() == [name]


def test_an_absolute_path_into_the_folder_is_one_below_it(tmp_path: Path) -> None:
    path = write(tmp_path, f"path,label\n{tmp_path.resolve()}/data/a/1.jpg,cat\n")
    assert read(path).rows["id"].tolist() == ["a/1.jpg"]


def test_each_unusable_row_is_dropped_for_its_own_reason(tmp_path: Path) -> None:
    """Files outside the table's folder are never accessed."""
    (tmp_path / "secret.jpg").write_text("secret")
    rows = [
        *("a/1.jpg,cat", "2.jpg,", "2.jpg,NaN", "2.jpg,dog", "2.jpg,cat", ",dog", "3.jpg,dog"),
        *("../secret.jpg,dog", f"{tmp_path}/secret.jpg,dog", f"{'x' * 5000},dog", "a/,dog"),
    ]
    listing = read(write(tmp_path, "path,label\n" + "\n".join(rows) + "\n"))
    assert listing.rows["id"].tolist() == ["a/1.jpg", "2.jpg"]
    assert Counter(finding.reason for finding in listing.findings) == {
        selection.NO_LABEL: 2,
        selection.DUPLICATE_ID: 1,
        selection.NO_ID: 1,
        reasons.NO_FILE: 2,
        reasons.OUTSIDE: 2,
        reasons.UNUSABLE_PATH: 1,
    }
    assert {f.image_id: f.detail for f in listing.findings}["3.jpg"] == "line 8"


def test_a_link_that_leads_out_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\n3.jpg,cat\n")
    (tmp_path / "secret.jpg").write_text("secret")
    (path.parent / "3.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match="a link that points outside"):
        TableSource(path, None).read_bytes("3.jpg")


def test_a_parquet_is_read_like_a_csv(tmp_path: Path) -> None:
    """Class indices become text, and NaN is a missing label."""
    path = write(tmp_path, "").with_suffix(".parquet")
    pd.DataFrame(
        {"path": ["a/1.jpg", "2.jpg", "2.jpg"], "label": [3.0, float("nan"), 12]}
    ).to_parquet(path)
    listing = read(path)
    assert listing.rows.drop(columns="split").to_numpy().tolist() == [
        ["a/1.jpg", "3"],
        ["2.jpg", "12"],
    ]
    (finding,) = listing.findings
    assert (finding.reason, finding.detail) == (selection.NO_LABEL, "row 2")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path;label\na/1.jpg;cat\n", "its columns are separated by ';'; save it with commas"),
        ("path,kind\na/1.jpg,cat\n", "no column 'label'; its columns are: path, kind"),
        ("", "is empty"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path: Path, content: str, says: str) -> None:
    assert says in fault(write(tmp_path, content))


def test_what_is_no_table_is_reported(tmp_path: Path) -> None:
    assert "does not exist; source table requires a .csv or .parquet" in fault(tmp_path / "no.csv")
    assert "is a folder" in fault(tmp_path)
    assert "data.path:" in fault(Path("nul\0"))
    (tmp_path / "not.parquet").write_text("path,label\n")
    assert "is not a parquet file" in fault(tmp_path / "not.parquet")


def test_the_stamp_follows_table_and_images(tmp_path: Path) -> None:
    def stamp() -> str:
        source = TableSource(path, None)
        source.list_images(WANTED)
        return source.stamp()

    path = write(tmp_path, "path,label\na/1.jpg,cat\n")
    stamps = [stamp()]
    (path.parent / "a/1.jpg").write_text("another")
    stamps.append(stamp())
    path.write_text("path,label\na/1.jpg,dog\n\n")
    stamps.append(stamp())
    assert len(set(stamps)) == 3
    assert stamp() == stamps[-1]


def test_labels_with_and_without_point_zero_are_one_class_as_in_parquet(tmp_path: Path) -> None:
    """Programs write 3.0 if a column of whole numbers has a missing value."""
    table = "path,label\na/1.jpg,3\n2.jpg,3.0\n3.jpg,3.50\n4.jpg,03.0\n"
    path = write(tmp_path, table, ("a/1.jpg", "2.jpg", "3.jpg", "4.jpg"))
    assert read(path).rows["label"].tolist() == ["3", "3", "3.50", "03.0"]


def test_accents_in_two_forms_are_one_class(tmp_path: Path) -> None:
    """Precomposed or combining accents: macOS and other systems write them differently."""
    composed, apart = "H\u00fcte", "Hu\u0308te"
    path = write(tmp_path, f"path,label\na/1.jpg,{composed}\n2.jpg,{apart}\n")
    for asked in (composed, apart):
        rows = read(path, Query("label", {"label": (asked,)})).rows
        assert rows["label"].tolist() == [composed, composed]


def test_labels_in_latin_1_stay_apart(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes("path,label\na/1.jpg,H\xfcte\n2.jpg,H\xe4te\n".encode("latin-1"))
    result = read(path)
    assert result.rows["label"].tolist() == ["H\xfcte", "H\xe4te"]
    assert [finding.reason for finding in result.findings] == ["text is not UTF-8"] * 2
