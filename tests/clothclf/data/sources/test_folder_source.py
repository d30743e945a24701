"""Image folders: layouts are recognized, and invalid ones are refused with a one-line message."""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from clothclf.data.sources import folder_source as reasons
from clothclf.data.sources.files import LEADS_OUT, REPEATED, UNPRINTABLE_NAME, UNUSABLE_NAME
from clothclf.data.sources.folder_source import FolderSource
from clothclf.data.sources.listing import Query
from clothclf.data.sources.selection import Chosen, choose
from clothclf.errors import DataError

WANTED = Query("articleType")
FLAT = ("cats/1.jpg", "cats/2.PNG", "dogs/1.jpg")
SPLIT = ("Train/cats/1.jpg", "Train/dogs/1.jpg", "val/cats/1.jpg", "val/dogs/1.jpg")


def write(place: Path, names: tuple[str, ...], kind: str = "folder") -> Path:
    """Write files that contain their own names, in a folder or an archive."""
    if kind == "zip":
        path = place / "data.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name)
        return path
    for name in names:
        file = place / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return place / "data"


def read(path: Path) -> Chosen:
    """List a folder; every file is either kept or dropped."""
    source = FolderSource(path)
    listing = choose(source.list_images(WANTED), WANTED, source.title)
    assert listing.rows_read == len(listing.rows) + len(listing.findings)
    return listing


def fault(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        FolderSource(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("root", ["", "pictures/", "a/b/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folders_name_the_classes(tmp_path: Path, kind: str, root: str) -> None:
    """At the top, or below folders without other content; ids are the same in both."""
    path = write(tmp_path, tuple(root + name for name in FLAT), kind)
    rows = read(path).rows
    assert rows["id"].tolist() == list(FLAT)
    assert rows["label"].tolist() == ["cats", "cats", "dogs"]
    assert set(rows["split"]) == {""}
    assert FolderSource(path).read_bytes("dogs/1.jpg") == (root + "dogs/1.jpg").encode()


@pytest.mark.parametrize("root", ["", "pictures/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folders_above_the_classes_name_the_splits(tmp_path: Path, kind: str, root: str) -> None:
    """Any common name of a split, in any capitalization."""
    rows = read(write(tmp_path, tuple(root + name for name in SPLIT), kind)).rows
    assert rows["split"].tolist() == ["train", "train", "valid", "valid"]
    assert rows["label"].tolist() == ["cats", "dogs", "cats", "dogs"]
    assert rows["id"].tolist() == list(SPLIT)


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    """A folder of images beside other classes is a class."""
    rows = read(write(tmp_path, ("test/1.jpg", "good/1.jpg"))).rows
    assert set(rows["label"]) == {"test", "good"}


def test_files_that_are_no_images_are_reported_and_what_systems_leave_is_not(
    tmp_path: Path,
) -> None:
    names = ("README.md", "cats/notes.txt", "cats/.DS_Store", "__MACOSX/cats/._1.jpg", ".git/x")
    names += ("cats/._2.jpg", "cats/.3.jpg", ".thumbnails/cats/1.jpg")
    listing = read(write(tmp_path, (*FLAT, *names)))
    result = Counter((finding.reason, finding.image_id) for finding in listing.findings)
    assert result == {
        (reasons.NO_IMAGE, "README.md"): 1,
        (reasons.NO_IMAGE, "cats/notes.txt"): 1,
        (reasons.HIDDEN, "cats/.3.jpg"): 1,
        (reasons.HIDDEN, ".thumbnails/cats/1.jpg"): 1,
    }


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_files_beside_the_folder_of_all_classes_are_reported(tmp_path: Path, kind: str) -> None:
    names = tuple(f"images/{name}" for name in FLAT)
    actual = read(write(tmp_path, (*names, "LICENSE", "images/sizes.txt"), kind))
    result = Counter((finding.reason, finding.image_id) for finding in actual.findings)
    assert result == {(reasons.NO_IMAGE, "sizes.txt"): 1, (reasons.NO_IMAGE, "LICENSE"): 1}


ODD_NAMES = (
    *("Screen\u202fshots/9.41\u202fPM.jpg", "Screen\u202fshots/caf\u00e9\u00a01.jpg"),
    *("\U0001f469\u200d\U0001f52c/\u2764\ufe0f.jpg", "\u05d0\u200f/1.jpg", "\uf8ff/1.jpg"),
)
"""Thin and no-break spaces, joined emoji, direction marks, and Apple's private character."""


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_names_that_stay_within_their_line_are_read(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, ODD_NAMES, kind)
    result = read(path)
    assert sorted(result.rows["id"]) == sorted(ODD_NAMES)
    assert set(result.rows["label"]) == {name.split("/")[0] for name in ODD_NAMES}
    assert FolderSource(path).read_bytes(ODD_NAMES[0]) == ODD_NAMES[0].encode()


BAD_NAMES = ("cats/a\nb.jpg", "ca\x1bts/1.jpg", "cats/gpj.\u202e1.jpg", "cats/\u2028.jpg")
"""Characters that could break out of a line or field, or reverse the text around them."""


def test_everything_in_a_folder_is_kept_or_counted(tmp_path: Path) -> None:
    path = write(tmp_path, (*FLAT, *BAD_NAMES))
    (path / os.fsdecode(b"caf\xe9")).mkdir()
    (path / os.fsdecode(b"caf\xe9/1.jpg")).write_bytes(b"x")
    os.mkfifo(path / "cats/pipe.jpg")
    (path / "cats/link.jpg").symlink_to("nowhere")
    actual = read(path)
    assert actual.rows["id"].tolist() == list(FLAT)
    assert Counter(finding.reason for finding in actual.findings) == {
        UNUSABLE_NAME: len(BAD_NAMES) + 1,
        UNPRINTABLE_NAME: 2,
    }
    assert actual.rows_read == len(FLAT) + len(BAD_NAMES) + 3
    result = {finding.image_id for finding in actual.findings}
    assert {"cats/a\\nb.jpg", "caf\\udce9/1.jpg"} <= result


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_everything_in_an_archive_is_kept_or_counted(tmp_path: Path) -> None:
    """Only its folders are not counted as files."""
    path = write(tmp_path, (*FLAT, *BAD_NAMES), "zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cats/", b"")
        for name in ("../evil.jpg", "/tmp/evil.jpg", "cats/1.jpg"):
            archive.writestr(name, name)
        for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
            info = zipfile.ZipInfo(f"cats/{kind}.jpg")
            info.external_attr = (kind | 0o777) << 16
            archive.writestr(info, b"x")
        files = sum(not info.is_dir() for info in archive.infolist())
    result = read(path)
    assert result.rows["id"].tolist() == list(FLAT)
    assert result.rows_read == files
    assert Counter(finding.reason for finding in result.findings) == {
        UNUSABLE_NAME: len(BAD_NAMES),
        LEADS_OUT: 2,
        REPEATED: 1,
        UNPRINTABLE_NAME: 3,
    }


def test_a_name_that_is_no_text_is_reported(tmp_path: Path) -> None:
    listing = read(write(tmp_path, (*FLAT, "cats/a\nb.jpg")))
    assert [finding.reason for finding in listing.findings] == [UNUSABLE_NAME]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((*FLAT, "7.jpg"), "1 images are beside the class folders, the first is 7.jpg"),
        (("7.jpg", "8.jpg"), "2 images are in no class folder"),
        ((*FLAT, "cats/wild/1.jpg"), "1 of 4 images are deeper than the class folders"),
        (("a/cats/1.jpg", "b/dogs/1.jpg"), "all images are deeper than the class folders"),
        ((*SPLIT, "val/3.jpg"), "val/3.jpg is directly in the split folder 'val'"),
        (("train/3.jpg", "test/3.jpg"), "is directly in the split folder 'test'"),
        ((*SPLIT, "extra/cats/1.jpg"), "also 'extra', which is not one of train"),
        ((*SPLIT, "valid/cats/1.jpg"), "several of them for valid; merge them"),
        ((*SPLIT, "val/a/b/1.jpg"), "1 of 5 images are deeper"),
        (("cats/1.txt", "notes.md"), "has no images: 2 files, none of them with a suffix"),
        ((), "has no images: 0 files"),
    ],
)
def test_a_layout_that_is_none_is_one_sentence(
    tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    (tmp_path / "data").mkdir()
    assert says in fault(write(tmp_path, names))


def test_what_is_not_there_is_reported(tmp_path: Path) -> None:
    assert "does not exist; download" in fault(tmp_path / "none")


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """It could point outside, or form a loop."""
    path = write(tmp_path, FLAT)
    (path / "loop").symlink_to(path, target_is_directory=True)
    assert "is a link to a folder, which is not followed" in fault(path)


def test_a_link_that_leads_out_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, FLAT)
    (tmp_path / "secret.jpg").write_text("secret")
    (path / "cats/3.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match="a link that points outside"):
        FolderSource(path).read_bytes("cats/3.jpg")


def test_pipes_are_no_images(tmp_path: Path) -> None:
    """Opening a pipe would block."""
    path = write(tmp_path, FLAT)
    os.mkfifo(path / "cats/3.jpg")
    assert read(path).rows["id"].tolist() == list(FLAT)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_stamp_follows_the_images(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, FLAT, kind)
    first = FolderSource(path).stamp()
    assert FolderSource(path).stamp() == first
    write(tmp_path, (*FLAT, "dogs/2.jpg"), kind)
    assert FolderSource(path).stamp() != first
