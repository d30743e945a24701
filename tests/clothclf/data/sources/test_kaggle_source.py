"""The Kaggle reader repairs and counts malformed input, or refuses it with a one-line message."""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clothclf.data.sources import files, selection, table
from clothclf.data.sources import kaggle_source as kaggle_reasons
from clothclf.data.sources.kaggle_source import KaggleSource
from clothclf.data.sources.listing import Query
from clothclf.data.sources.selection import Chosen, choose
from clothclf.errors import DataError

if TYPE_CHECKING:
    from tests.conftest import KaggleBuilder

LABEL = "articleType"
HEADER = "id,articleType,productDisplayName\n"
TWO_ROWS = HEADER + "1,Tops,one\n2,Shirts,two\n"
ONE_TWO = {"1": b"first", "2": b"second"}


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path: Path):
    """Fail if a test writes a file outside its own folder."""
    before = sorted(tmp_path.parent.iterdir())
    yield
    assert sorted(tmp_path.parent.iterdir()) == before


def reasons(listing: Chosen) -> Counter[tuple[str, str]]:
    return Counter((finding.action, finding.reason) for finding in listing.findings)


def ids(listing: Chosen) -> list[str]:
    return listing.rows["id"].tolist()


def read(path: Path) -> Chosen:
    """List a data set; every row is either kept or dropped, never both."""
    listing = choose(KaggleSource(path).list_images(Query(LABEL)), Query(LABEL), "data")
    dropped = sum(finding.action == "dropped" for finding in listing.findings)
    assert listing.rows_read == len(listing.rows) + dropped
    return listing


def fault(path: Path, label: str = LABEL) -> str:
    """Return the one-line message with which a data set is refused."""
    with pytest.raises(DataError) as caught:
        KaggleSource(path).list_images(Query(label))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Layout


@pytest.mark.parametrize("root", ["", "myntradataset/"])
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_zip_and_folder_are_read_at_the_top_and_one_down(
    kaggle: KaggleBuilder, kind: str, root: str
) -> None:
    path = getattr(kaggle, kind)(TWO_ROWS, ONE_TWO, root=root)
    source = KaggleSource(path)
    listing = read(path)
    assert ids(listing) == ["1", "2"]
    assert listing.rows["label"].tolist() == ["Tops", "Shirts"]
    assert listing.findings == ()
    assert source.read_bytes("2") == b"second"
    assert source.title == path.name


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_of_two_copies_the_top_one_is_read(kaggle: KaggleBuilder, kind: str) -> None:
    """Kaggle's archive contains the data set twice, the second copy one folder down."""
    build = getattr(kaggle, kind)
    build(HEADER + "9,Caps,copy\n", {"9": b"copy"}, root="a/")
    path = build(TWO_ROWS, ONE_TWO)
    assert ids(read(path)) == ["1", "2"]


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_table_without_images_gives_way_to_one_with(kaggle: KaggleBuilder, kind: str) -> None:
    build = getattr(kaggle, kind)
    build(TWO_ROWS)
    path = build(HEADER + "9,Caps,copy\n", {"9": b"copy"}, root="a/")
    assert ids(read(path)) == ["9"]


def test_what_is_not_there_is_reported_with_the_remedy(
    kaggle: KaggleBuilder, tmp_path: Path
) -> None:
    assert "does not exist; download" in fault(tmp_path / "none.zip")
    assert "has no styles.csv" in fault(kaggle.folder(root="a/b/", table=TWO_ROWS))
    assert "no images in images/" in fault(kaggle.zip(TWO_ROWS))


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0"])
def test_a_path_that_no_system_takes_is_one_sentence(name: str) -> None:
    assert "data.path:" in fault(Path(name))


# The table


def test_an_unquoted_comma_is_repaired_and_counted(kaggle: KaggleBuilder) -> None:
    """Surplus fields belong to the last column; the label is still correct."""
    rows = HEADER + "1,Tops,red, round, and new\n2,Shirts,two\n"
    listing = read(kaggle.folder(rows, ONE_TWO))
    assert ids(listing) == ["1", "2"]
    assert listing.rows["label"].tolist() == ["Tops", "Shirts"]
    (finding,) = listing.findings
    assert (finding.action, finding.reason) == ("repaired", table.UNQUOTED_COMMA)
    assert (finding.image_id, finding.detail) == ("1", "red, round, and new")


def test_quoted_commas_are_no_fault(kaggle: KaggleBuilder) -> None:
    rows = '"id",articleType,"name, in full"\n1,Tops,"red, round"\n2,Shirts,two\n'
    assert reasons(read(kaggle.folder(rows, ONE_TWO))) == Counter()


def test_each_unusable_row_is_dropped_for_its_own_reason(kaggle: KaggleBuilder) -> None:
    rows = (
        HEADER + "1,Tops,kept\n1,Caps,again\n,Tops,no id\n2,,no label\n2,  ,blank label\n"
        "7,Tops,no image\n../1,Tops,up\n/etc/passwd,Tops,absolute\n2,Shirts,kept\n"
        f"8,{'x' * 101},long\n8,Bell\a,control\n"
    )
    listing = read(kaggle.folder(rows, ONE_TWO))
    assert ids(listing) == ["1", "2"]
    assert reasons(listing) == {
        ("dropped", selection.DUPLICATE_ID): 1,
        ("dropped", selection.NO_ID): 1,
        ("dropped", selection.NO_LABEL): 2,
        ("dropped", kaggle_reasons.NO_IMAGE): 1,
        ("dropped", kaggle_reasons.UNUSABLE_ID): 2,
        ("dropped", selection.UNUSABLE_LABEL): 2,
    }
    lines = {finding.image_id: finding.detail for finding in listing.findings}
    assert lines["7"] == "line 7"


def test_short_rows_are_reported_and_kept_if_they_have_a_label(kaggle: KaggleBuilder) -> None:
    listing = read(kaggle.folder(HEADER + "1,Tops\n2\n\n", ONE_TWO))
    assert ids(listing) == ["1"]
    assert reasons(listing) == {
        ("repaired", table.SHORT_ROW): 2,
        ("dropped", selection.NO_LABEL): 1,
    }


def test_a_quote_without_an_end_loses_no_row(kaggle: KaggleBuilder) -> None:
    """Rows that it swallows, up to the next quote, are parsed on their own and reported."""
    rows = HEADER + '1,Tops,"never closed\n2,Shirts,two\n\n3,Caps,15" screen\n4,Caps,four\n'
    listing = read(kaggle.folder(rows, {**ONE_TWO, "3": b"third", "4": b"fourth"}))
    assert ids(listing) == ["1", "2", "3", "4"]
    assert reasons(listing) == {("repaired", table.STRAY_QUOTE): 1}
    assert listing.findings[0].image_id == "1"


def test_a_long_swallowed_stretch_is_read_too(kaggle: KaggleBuilder) -> None:
    """Longer than a CSV field may be; line numbers stay correct."""
    many = "".join(f"{number},Caps,{'x' * 50}\n" for number in range(1000, 6000))
    listing = read(kaggle.folder(HEADER + '1,Tops,"never closed\n' + many, ONE_TWO))
    assert listing.rows_read == 5001
    last = listing.findings[-1]
    assert (last.image_id, last.detail) == ("5999", "line 5002")
    assert {finding.reason for finding in listing.findings} == {
        table.STRAY_QUOTE,
        kaggle_reasons.NO_IMAGE,
    }


def test_a_line_break_inside_quotes_is_one_row_and_reported(kaggle: KaggleBuilder) -> None:
    rows = HEADER + '1,Tops,"two\r\nlines"\n2,Shirts,two\n'
    listing = read(kaggle.folder(rows, ONE_TWO))
    assert ids(listing) == ["1", "2"]
    (finding,) = listing.findings
    assert (finding.reason, finding.image_id) == (table.LINE_BREAK, "1")
    assert finding.detail == "1 line breaks"


def test_a_field_without_end_is_refused_with_its_line(kaggle: KaggleBuilder) -> None:
    rows = TWO_ROWS + '3,Tops,"' + "x" * 200_000 + "\n"
    message = fault(kaggle.folder(rows, ONE_TWO))
    assert "styles.csv, line 4:" in message
    assert "an unclosed quote" in message


@pytest.mark.parametrize(
    "content",
    [
        TWO_ROWS.encode("utf-8-sig"),
        TWO_ROWS.replace("\n", "\r\n").encode(),
        TWO_ROWS.replace("\n", "\r").encode(),
        TWO_ROWS.encode("utf-16"),
        TWO_ROWS.rstrip("\n").encode(),
        TWO_ROWS.replace("id,", " id ,").replace("1,Tops", " 1 , Tops ").encode(),
    ],
    ids=["byte order mark", "CRLF", "CR", "UTF-16", "no last line break", "blanks"],
)
def test_other_ways_to_save_a_table_are_the_same_table(
    kaggle: KaggleBuilder, content: bytes
) -> None:
    listing = read(kaggle.folder(content, ONE_TWO))
    assert ids(listing) == ["1", "2"]
    assert listing.rows["label"].tolist() == ["Tops", "Shirts"]
    assert listing.findings == ()


def test_wrong_encodings_and_nuls_are_mended_and_reported(kaggle: KaggleBuilder) -> None:
    rows = HEADER.encode() + "1,Tops,café\n".encode("latin-1") + b"2,Shi\0rts,two\n"
    listing = read(kaggle.folder(rows, ONE_TWO))
    assert listing.rows["label"].tolist() == ["Tops", "Shirts"]
    assert reasons(listing) == {("repaired", table.NOT_UTF8): 1, ("repaired", table.NUL): 1}


def test_a_header_alone_has_no_rows(kaggle: KaggleBuilder) -> None:
    listing = read(kaggle.folder(HEADER, ONE_TWO))
    assert (len(listing.rows), listing.rows_read) == (0, 0)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_table_is_refused(kaggle: KaggleBuilder, content: bytes) -> None:
    assert "is empty" in fault(kaggle.folder(content, ONE_TWO))


@pytest.mark.parametrize("seed", range(5))
def test_binary_rubbish_is_refused_without_printing_it(kaggle: KaggleBuilder, seed: int) -> None:
    import random

    message = fault(kaggle.folder(random.Random(seed).randbytes(5000), ONE_TWO))
    assert message.isprintable()
    assert len(message) < 1500


def test_a_missing_column_is_named_with_near_ones(kaggle: KaggleBuilder) -> None:
    path = kaggle.folder(TWO_ROWS, ONE_TWO)
    message = fault(path, label="articletype")
    assert "styles.csv: no column 'articletype' (did you mean articleType?)" in message
    assert "its columns are: id, articleType, productDisplayName" in message
    path = kaggle.folder(TWO_ROWS.replace("id,", "ident,"), ONE_TWO)
    assert "no column 'id'" in fault(path)


def test_a_column_that_is_there_twice_is_refused(kaggle: KaggleBuilder) -> None:
    rows = "id,articleType,articleType\n1,a,b\n"
    assert "has 2 columns 'articleType'" in fault(kaggle.folder(rows, ONE_TWO))


# Hostile folders


def test_a_link_that_leads_out_of_the_folder_is_not_read(
    kaggle: KaggleBuilder, tmp_path: Path
) -> None:
    path = kaggle.folder(TWO_ROWS, ONE_TWO)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (path / "images/1.jpg").unlink()
    (path / "images/1.jpg").symlink_to(secret)
    source = KaggleSource(path)
    with pytest.raises(DataError, match="a link that points outside"):
        source.read_bytes("1")
    assert source.read_bytes("2") == b"second"
    (path / "styles.csv").rename(tmp_path / "other.csv")
    (path / "styles.csv").symlink_to(tmp_path / "other.csv")
    assert "a link that points outside" in fault(path)


def test_a_link_within_the_folder_is_read(kaggle: KaggleBuilder) -> None:
    path = kaggle.folder(TWO_ROWS, {"2": b"second"})
    (path / "images/1.jpg").symlink_to("2.jpg")
    assert KaggleSource(path).read_bytes("1") == b"second"


def test_dangling_links_pipes_and_folders_are_no_images(kaggle: KaggleBuilder) -> None:
    """None of them blocks, and they are counted as missing."""
    rows = HEADER + "1,Tops,a\n2,Tops,b\n3,Tops,c\n4,Tops,d\n5,Tops,e\n"
    path = kaggle.folder(rows, {"1": b"first"})
    (path / "images/2.jpg").symlink_to("nowhere.jpg")
    (path / "images/3.jpg").symlink_to("3.jpg")
    (path / "images/4.jpg").mkdir()
    os.mkfifo(path / "images/5.jpg")
    listing = read(path)
    assert ids(listing) == ["1"]
    assert reasons(listing) == {("dropped", kaggle_reasons.NO_IMAGE): 4}
    assert KaggleSource(path).stamp()


def test_a_image_that_vanishes_is_one_sentence(kaggle: KaggleBuilder) -> None:
    path = kaggle.folder(TWO_ROWS, ONE_TWO)
    source = KaggleSource(path)
    (path / "images/1.jpg").unlink()
    for ask in (source.stamp, lambda: source.read_bytes("1")):
        with pytest.raises(DataError, match="cannot be read: No such file"):
            ask()


# Hostile archives


def test_members_that_point_elsewhere_are_passed_over(kaggle: KaggleBuilder) -> None:
    path = kaggle.zip(TWO_ROWS + "3,Tops,c\n4,Tops,d\n", {"1": b"first"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images/../../2.jpg", b"up")
        archive.writestr("/images/3.jpg", b"absolute")
        link = zipfile.ZipInfo("images/4.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    listing = read(path)
    assert ids(listing) == ["1"]
    assert reasons(listing) == {("dropped", kaggle_reasons.NO_IMAGE): 3}


def test_a_member_that_unpacks_too_large_is_refused(
    kaggle: KaggleBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb of 50 MB of zeros in 50 KB. Only the limit is ever unpacked."""
    path = kaggle.zip(TWO_ROWS)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/1.jpg", bytes(50_000_000))
    monkeypatch.setattr(kaggle_reasons, "MAX_IMAGE_BYTES", 2**20)
    with pytest.raises(DataError, match=r"images/1\.jpg: is larger than 1 MiB"):
        KaggleSource(path).read_bytes("1")
    monkeypatch.setattr(kaggle_reasons, "MAX_TABLE_BYTES", 2**4)
    assert "styles.csv: is larger than" in fault(path)


@pytest.mark.parametrize("keep", [0, 10, 100, -5])
def test_a_truncated_archive_is_refused_with_the_remedy(kaggle: KaggleBuilder, keep: int) -> None:
    path = kaggle.zip(TWO_ROWS, ONE_TWO)
    path.write_bytes(path.read_bytes()[:keep])
    message = fault(path)
    assert "is not a readable zip archive" in message
    assert "download it again" in message


def test_a_damaged_member_is_reported_by_name(kaggle: KaggleBuilder) -> None:
    path = kaggle.zip(TWO_ROWS, ONE_TWO)
    path.write_bytes(path.read_bytes().replace(b"second", b"broken"))
    source = KaggleSource(path)
    assert source.read_bytes("1") == b"first"
    with pytest.raises(DataError, match=r"images/2\.jpg: cannot be read: Bad CRC"):
        source.read_bytes("2")


def test_an_encrypted_archive_is_refused_with_the_remedy(kaggle: KaggleBuilder) -> None:
    path = kaggle.zip(TWO_ROWS, ONE_TWO)
    content = bytearray(path.read_bytes())
    # zipfile cannot write encrypted members: set their flag in every local and central header.
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(mark, place + 1)
    path.write_bytes(content)
    message = fault(path)
    assert "styles.csv: is encrypted" in message
    assert "give the folder" in message


def test_threads_read_one_archive_side_by_side(kaggle: KaggleBuilder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    images = {str(number): str(number).encode() * 5000 for number in range(200)}
    source = KaggleSource(kaggle.zip(TWO_ROWS, images))
    with ThreadPoolExecutor(8) as pool:
        read_back = dict(zip(images, pool.map(source.read_bytes, images), strict=True))
    assert read_back == images


def test_the_stamp_follows_the_files(kaggle: KaggleBuilder) -> None:
    """It stays the same without changes, and differs if an image or the table changes."""
    path = kaggle.folder(TWO_ROWS, ONE_TWO)
    stamps = [KaggleSource(path).stamp(), KaggleSource(path).stamp()]
    assert stamps[0] == stamps[1]
    (path / "images/1.jpg").write_bytes(b"another")
    stamps.append(KaggleSource(path).stamp())
    (path / "styles.csv").write_text(TWO_ROWS + "3,Tops,c\n")
    stamps.append(KaggleSource(path).stamp())
    assert len(set(stamps)) == 3
    archive = kaggle.zip(TWO_ROWS, ONE_TWO)
    before = files.open_files(archive).stamp([])
    kaggle.zip(files={"5": b"more"}, root="b/")
    assert files.open_files(archive).stamp([]) != before
