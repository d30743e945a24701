"""Parquet files of the hub: reading by row, class names, splits by file, and one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clothclf.data.prepare import UNREADABLE, prepare
from clothclf.data.sources import hub_source, parquet, parquet_pages, selection
from clothclf.data.sources.hub_source import HubSource
from clothclf.data.sources.listing import Listing, Query
from clothclf.data.sources.selection import choose
from clothclf.errors import DataError
from clothclf.settings import DataSettings, SplitSettings
from tests.clothclf.data import hub_files
from tests.conftest import decode_rgb, draw_jpeg

LABEL = "articleType"
FIRST = "train-00000-of-00002-6cff4c59f91661c3.parquet"
SECOND = "train-00001-of-00002-bb459e5ac5f01e71.parquet"


def listed(path: Path, label: str = LABEL, **options: Any) -> Listing:
    return HubSource(path, **options).list_images(Query(label))


def fault(path: Path, label: str = LABEL, **options: Any) -> str:
    """Return the one-line message with which a data set is refused."""
    with pytest.raises(DataError) as caught:
        listed(path, label, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def settings(path: Path, **others: Any) -> DataSettings:
    return DataSettings(source="hub", path=path, image_size=8, **others)


@pytest.mark.parametrize("folder", ["data", "."])
def test_the_usual_layout_is_one_data_set(tmp_path: Path, folder: str) -> None:
    """Two files in `data/` or at the top; their ids, labels and images stay together."""
    hub_files.fashion(tmp_path / folder / FIRST, [11, 12, 13], ["Tops", "Shirts", "Tops"])
    hub_files.fashion(tmp_path / folder / SECOND, [21, 22], ["Shirts", "Tops"], row_group_size=1)
    source = HubSource(tmp_path)
    listing = source.list_images(Query(LABEL, {"year": ("2011",), "baseColour": ("Navy Blue",)}))
    assert listing.ids == ["11", "12", "13", "21", "22"]
    assert listing.columns[LABEL] == ["Tops", "Shirts", "Tops", "Shirts", "Tops"]
    assert set(listing.columns["year"]) == {"2011"}
    assert list(listing.splits) == []
    for image_id in reversed(listing.ids):
        assert source.read_bytes(image_id) == draw_jpeg(int(image_id))


def test_prepared_it_is_what_kaggles_layout_of_the_same_rows_is(tmp_path: Path, kaggle) -> None:
    """The same images and labels have the same fingerprint in any layout."""
    counts = {"Tops": 6, "Shirts": 5}
    labels = [label for label, count in counts.items() for _ in range(count)]
    columns = {
        "id": list(range(1000, 1000 + len(labels))),
        LABEL: labels,
        "image": hub_files.cells([draw_jpeg(place) for place in range(len(labels))]),
    }
    ours = hub_files.write(tmp_path / "rows.parquet", columns)
    theirs = DataSettings(source="kaggle", path=kaggle.zip(counts=counts), image_size=8)
    result = prepare(settings(ours), tmp_path / "cache").summary
    assert result.fingerprint == prepare(theirs, tmp_path / "cache").summary.fingerprint


def test_splits_are_those_of_the_files(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "validation", "test")):
        ids = [number * 100 + place for place in range(6)]
        path = tmp_path / "data" / f"{name}-00000-of-00001.parquet"
        hub_files.fashion(path, ids, ["Tops", "Shirts"] * 3)
    result = prepare(settings(tmp_path), tmp_path / "cache").manifest
    assert {name: set(rows["id"].str[:-2]) for name, rows in result.groupby("split")} == {
        "train": {""}, "valid": {"1"}, "test": {"2"},
    }  # fmt: skip
    drawn = settings(tmp_path, split=SplitSettings(given="ignore"))
    assert prepare(drawn, tmp_path / "cache").manifest["split"].tolist() != result["split"].tolist()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002-6cff4c59f91661c3.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "valid"),
        ("default/test/0000.parquet", "test"),
        ("my_pictures_val.parquet", "valid"),
        ("0000.parquet", ""),
        ("contest.parquet", ""),
    ],
)
def test_the_split_that_a_name_says(name: str, split: str) -> None:
    assert hub_source.split_of(name) == split


def test_a_lone_split_is_none(tmp_path: Path) -> None:
    """A data set with only `test` files is split like any other."""
    path = tmp_path / "test-00000-of-00001.parquet"
    hub_files.fashion(path, range(20), ["Tops", "Shirts"] * 10)
    result = prepare(settings(tmp_path), tmp_path / "cache")
    assert set(result.manifest["split"]) == {"train", "valid", "test"}


def test_numbers_of_classes_get_their_names(tmp_path: Path) -> None:
    """On the hub, -1 means no label; an index without a name has a reason of its own."""
    classes = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    columns = {
        "label": pa.array([1, 0, -1, None, 7], pa.int64()),
        "image": hub_files.cells([draw_jpeg(place) for place in range(5)]),
    }
    listing = listed(hub_files.write(tmp_path / "a.parquet", columns, classes), "label")
    assert listing.columns["label"] == ["dog", "cat", "", "", "7"]
    assert listing.ids == ["0", "1", "2", "3", "4"]
    chosen = choose(listing, Query("label"), "pets")
    assert Counter(finding.reason for finding in chosen.findings) == {
        selection.NO_LABEL: 2,
        hub_source.NO_CLASS_NAME: 1,
    }


@pytest.mark.parametrize(
    "note",
    [b"{", b"[]", b'{"info": {"features": [1]}}', b'{"info": {"features": {"label": 3}}}', b"\xff"],
)
def test_a_damaged_note_of_the_classes_is_as_none(tmp_path: Path, note: bytes) -> None:
    table = pa.table({"label": [1, 0], "image": hub_files.cells([b"a", b"b"])})
    pq.write_table(table.replace_schema_metadata({"huggingface": note}), tmp_path / "a.parquet")
    assert listed(tmp_path, "label").columns["label"] == ["1", "0"]


def test_plain_bytes_are_images_too(tmp_path: Path) -> None:
    columns = {LABEL: ["Tops"], "jpg": pa.array([draw_jpeg(3)], pa.binary())}
    source = HubSource(hub_files.write(tmp_path / "a.parquet", columns))
    assert source.list_images(Query(LABEL)).ids == ["0"]
    assert source.read_bytes("0") == draw_jpeg(3)


def test_of_several_columns_of_images_the_usual_or_the_named_is_read(tmp_path: Path) -> None:
    first, second = hub_files.cells([b"one"]), hub_files.cells([b"two"])
    path = hub_files.write(
        tmp_path / "a.parquet", {LABEL: ["Tops"], "mask": first, "image": second}
    )
    assert HubSource(path).read_bytes("0") == b"two"
    assert HubSource(path, image="mask").read_bytes("0") == b"one"
    odd = hub_files.write(tmp_path / "b.parquet", {LABEL: ["Tops"], "left": first, "right": second})
    assert "several columns of images: left, right; set data.image" in fault(odd)


def test_ids_that_come_again_are_reported_apart(tmp_path: Path) -> None:
    """Each row keeps its own image and label, even if ids repeat across splits."""
    hub_files.fashion(tmp_path / "train.parquet", [1, 2], ["Tops", "Shirts"])
    columns = {"id": [2, 2], LABEL: ["Wallets"] * 2, "image": hub_files.cells([b"x", b"y"])}
    hub_files.write(tmp_path / "test.parquet", columns)
    source = HubSource(tmp_path)
    listing = source.list_images(Query(LABEL))
    assert listing.ids == ["2", "2#1", "1", "2#3"]
    assert [source.read_bytes(name) for name in ("2", "2#1", "2#3")] == [b"x", b"y", draw_jpeg(2)]


def test_an_id_that_is_no_plain_text_is_left_out(tmp_path: Path) -> None:
    columns = {
        "id": ["ok", None, "two\nlines", "x" * 101],
        LABEL: ["Tops"] * 4,
        "image": hub_files.cells([b"1", b"2", b"3", b"4"]),
    }
    listing = listed(hub_files.write(tmp_path / "a.parquet", columns))
    assert list(listing.errors) == ["", "", hub_source.UNUSABLE_ID, hub_source.UNUSABLE_ID]


def test_an_empty_cell_is_one_image_less(tmp_path: Path) -> None:
    contents = [draw_jpeg(place) for place in range(12)]
    columns = {
        LABEL: ["Tops", "Shirts"] * 6,
        "image": hub_files.cells([None, *contents[1:11], b""]),
    }
    actual = prepare(settings(hub_files.write(tmp_path / "a.parquet", columns)), tmp_path / "cache")
    assert actual.summary.dropped == {UNREADABLE: 2}
    result = actual.findings.set_index("image_id")["detail"]
    assert result["0"] == "the cell is empty"
    assert len(actual.manifest) == 10


def test_the_path_of_a_image_is_never_followed(tmp_path: Path) -> None:
    """It could point to any file on the machine."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(draw_jpeg(1))
    outside = pa.array([{"bytes": None, "path": str(secret)}], hub_files.PICTURE)
    path = hub_files.write(tmp_path / "a.parquet", {LABEL: ["Tops"], "image": outside})
    source = HubSource(path)
    source.list_images(Query(LABEL))
    with pytest.raises(DataError, match="the cell is empty"):
        source.read_bytes("0")


def test_many_threads_in_any_order_get_their_own_images(tmp_path: Path) -> None:
    contents = [os.urandom(200) for _ in range(300)]
    columns = {LABEL: ["Tops"] * 300, "image": hub_files.cells(contents)}
    source = HubSource(hub_files.write(tmp_path / "a.parquet", columns, row_group_size=70))
    ids = source.list_images(Query(LABEL)).ids
    order = sorted(ids, key=lambda name: int(name) * 7919 % 300)
    with ThreadPoolExecutor(8) as pool:
        read = dict(zip(order, pool.map(source.read_bytes, order), strict=True))
    assert [read[name] for name in ids] == contents


def test_the_stamp_changes_with_the_files_and_the_column(tmp_path: Path) -> None:
    columns = {LABEL: ["Tops"], "left": hub_files.cells([b"1"]), "right": hub_files.cells([b"2"])}
    path = hub_files.write(tmp_path / "a.parquet", columns)
    left = HubSource(path, image="left").stamp()
    assert HubSource(path, image="left").stamp() == left
    assert HubSource(path, image="right").stamp() != left
    os.utime(path, ns=(1, 1))
    assert HubSource(path, image="left").stamp() != left


# Invalid files


def test_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("id,articleType\n1,Tops\n")
    assert fault(tmp_path).endswith("a.parquet: is not a parquet file")


@pytest.mark.parametrize("share", [0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_short(tmp_path: Path, share: float) -> None:
    path = hub_files.fashion(tmp_path / "a.parquet", range(5), ["Tops"] * 5)
    os.truncate(path, int(path.stat().st_size * share))
    assert "is truncated; download it again" in fault(tmp_path)


def test_a_file_with_other_bytes_within_is_reported_or_is_fewer_images(tmp_path: Path) -> None:
    """Any changed byte gives a one-line error or a dropped image."""
    path = hub_files.fashion(tmp_path / "a.parquet", range(6), ["Tops"] * 6, row_group_size=2)
    whole = path.read_bytes()
    for place in range(4, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert "\n" not in read_all(path)


def test_a_footer_with_other_bytes_never_ends_the_process(tmp_path: Path) -> None:
    """Arrow's own metadata classes crash if the length of a histogram is changed."""
    path = hub_files.fashion(tmp_path / "a.parquet", [1, 2], ["Tops", "Caps"], store_schema=False)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(footer, len(whole) - 8, 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert "\n" not in read_all(path)


def read_all(path: Path) -> str:
    """Read and decode every image of a file; return the error message, if any."""
    try:
        source = HubSource(path)
        for image_id in filter(None, source.list_images(Query(LABEL)).ids):
            decode_rgb(source.read_bytes(image_id))
    except DataError as error:
        return str(error)
    return ""


def test_a_missing_path_a_pipe_and_an_empty_folder(tmp_path: Path) -> None:
    assert "does not exist" in fault(tmp_path / "no")
    os.mkfifo(tmp_path / "pipe.parquet")
    assert "neither a parquet file nor a folder" in fault(tmp_path / "pipe.parquet")
    assert "has no .parquet files" in fault(tmp_path)


def test_a_file_that_is_still_missing(tmp_path: Path) -> None:
    hub_files.fashion(tmp_path / "data" / FIRST, [1], ["Tops"])
    assert "lacks data/train-00001-of-00002….parquet; download it as well" in fault(tmp_path)


def test_several_data_sets_in_one_folder(tmp_path: Path) -> None:
    for name in ("large", "small"):
        hub_files.fashion(tmp_path / name / "train-00000-of-00001.parquet", [1], ["Tops"])
    assert "contains 2 data sets, in the folders large, small" in fault(tmp_path)
    assert listed(tmp_path / "small").ids == ["1"]


def test_a_table_without_images(tmp_path: Path) -> None:
    path = hub_files.write(tmp_path / "a.parquet", {LABEL: ["Tops"], "image": ["images/1.jpg"]})
    assert "has no column of images (their bytes); its columns are: articleType" in fault(path)
    assert "column 'image' holds string, not images" in fault(path, image="image")


def test_a_label_column_that_is_not_there_or_no_label(tmp_path: Path) -> None:
    path = hub_files.fashion(tmp_path / "a.parquet", [1], ["Tops"])
    assert "no column 'articletype' (did you mean articleType?)" in fault(path, "articletype")
    assert "column 'image' holds struct<bytes: binary, path: string>, not text" in fault(
        path, "image"
    )


def test_labels_that_are_missing_or_too_many(tmp_path: Path) -> None:
    nothing = {LABEL: pa.array([float("nan"), None]), "image": hub_files.cells([b"1", b"2"])}
    hub_files.write(tmp_path / "nan.parquet", nothing)
    with pytest.raises(DataError, match=r"none of its 2 rows .*\(no label 2"):
        prepare(settings(tmp_path / "nan.parquet"), tmp_path / "cache")
    many = {LABEL: [str(n) for n in range(10_000)], "image": hub_files.cells([b"1"] * 10_000)}
    hub_files.write(tmp_path / "many.parquet", many)
    with pytest.raises(DataError, match="10,000 classes"):
        prepare(settings(tmp_path / "many.parquet"), tmp_path / "cache")


def test_a_page_that_unpacks_to_a_gigabyte(tmp_path: Path, monkeypatch) -> None:
    """Refused by its page header before unpacking, whatever the footer says."""
    monkeypatch.setattr(parquet, "MAX_PAGE_BYTES", 2**20)
    columns = {LABEL: ["Tops"] * 4, "image": hub_files.cells([bytes(2**20 + n) for n in range(4)])}
    options = {"compression": "zstd", "use_dictionary": False}
    path = hub_files.write(tmp_path / "a.parquet", columns, **options)
    assert path.stat().st_size < 2**14
    assert "column 'image.bytes' decompresses to" in fault(path)


def test_labels_that_unpack_to_gigabytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parquet, "MAX_TEXT_BYTES", 2**20)
    columns = {LABEL: ["x" * 2**19 + str(n) for n in range(4)], "image": hub_files.cells([b""] * 4)}
    path = hub_files.write(tmp_path / "a.parquet", columns, compression="zstd")
    assert "column 'articleType' decompresses to" in fault(path)


def test_an_encoding_that_repeats_values_is_refused(tmp_path: Path) -> None:
    columns = {LABEL: ["Tops", "Topwear"], "image": hub_files.cells([b"1", b"2"])}
    path = hub_files.write(
        tmp_path / "a.parquet", columns, use_dictionary=False,
        column_encoding={LABEL: "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    assert "column 'articleType' is stored as DELTA_BYTE_ARRAY, which is not supported" in fault(
        path
    )


MEASURE = """
import sys
from pathlib import Path
from clothclf.data.sources import parquet
from clothclf.data.sources.hub_source import HubSource
from clothclf.data.sources.listing import Query
parquet._WINDOW_BYTES, parquet._AT_ONCE_BYTES = 2**23, 2**22
def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
before = peak()
source = HubSource(Path(sys.argv[1]))
total = sum(len(source.read_bytes(name)) for name in source.list_images(Query("label")).ids)
print(total, peak() - before)
"""


def grown(path: Path) -> tuple[int, int]:
    """Return the bytes of all images of a file, and the peak memory for reading them."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not report peak memory")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    total, memory = map(int, done.stdout.split())
    return total, memory


def test_a_row_group_is_never_held_whole(tmp_path: Path) -> None:
    image = os.urandom(2**17)
    columns = {"label": ["x"] * 1200, "image": hub_files.cells([image] * 1200)}
    options = {"use_dictionary": False, "write_batch_size": 4, "compression": "none"}
    path = hub_files.write(tmp_path / "a.parquet", columns, **options)
    total, memory = grown(path)
    assert total == 1200 * 2**17
    assert memory < total / 3


def test_a_value_that_all_rows_share_is_held_once(tmp_path: Path) -> None:
    """20,000 labels of a megabyte each would be 20 GB."""
    label = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 10**6])
    columns = {"label": label, "image": hub_files.cells([b"1"] * 20_000)}
    total, memory = grown(hub_files.write(tmp_path / "a.parquet", columns))
    assert total == 20_000
    assert memory < 2**27


def test_a_image_that_all_rows_share_is_held_a_few_times(tmp_path: Path) -> None:
    """400 rows with one image of half a megabyte, stored once in the file's dictionary."""
    image = os.urandom(2**19)
    columns = {"label": ["x"] * 400, "image": hub_files.cells([image] * 400)}
    path = hub_files.write(tmp_path / "a.parquet", columns)
    assert path.stat().st_size < 2**21
    total, memory = grown(path)
    assert total == 400 * 2**19
    assert memory < 2**26


def test_page_headers_are_what_they_are_written_as(tmp_path: Path) -> None:
    """Pages, values and sizes of a file with a known layout."""
    path = hub_files.write(
        tmp_path / "a.parquet", {"n": pa.array(range(1000), pa.int64())}, use_dictionary=False,
        compression="none", data_page_size=800, write_batch_size=100,
    )  # fmt: skip
    with path.open("rb") as file:
        (group,) = parquet_pages.read_footer(file)
        result = list(parquet_pages.pages(file, group.chunks["n"]))
    assert group.rows == 1000
    assert [page.values for page in result] == [100] * 10
    assert all(800 <= page.unpacked_bytes < 830 for page in result)
    assert not any(page.is_dictionary for page in result)


def test_the_real_images(tmp_path: Path, real_zip: Path) -> None:
    """Kaggle's archive written in the hub's parquet layout gives the same images."""
    from clothclf.data.sources.kaggle_source import KaggleSource

    theirs = KaggleSource(real_zip)
    listing = theirs.list_images(Query(LABEL))
    rows = [n for n in range(0, len(listing.ids), 97) if not listing.errors[n]]
    columns = {
        "id": [int(listing.ids[n]) for n in rows],
        LABEL: [listing.columns[LABEL][n] for n in rows],
        "image": hub_files.cells([theirs.read_bytes(listing.ids[n]) for n in rows]),
    }
    source = HubSource(hub_files.write(tmp_path / "a.parquet", columns, row_group_size=100))
    ours = source.list_images(Query(LABEL))
    assert ours.ids == [listing.ids[n] for n in rows]
    assert all(source.read_bytes(name) == theirs.read_bytes(name) for name in ours.ids)
