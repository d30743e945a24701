"""Images excluded by id."""

from __future__ import annotations

from pathlib import Path

import pytest

from clothclf.data.prepare import prepare
from clothclf.errors import DataError
from clothclf.settings import DataSettings, DemoSettings

DEMO = DataSettings(image_size=16, demo=DemoSettings(images_per_class=5))


def names(tmp_path: Path) -> list[str]:
    return prepare(DEMO, tmp_path / "cache").manifest["id"].tolist()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("out.txt", "# looked at\n{0}\n\n  {1}  \nnot-there\n"),
        ("out.csv", "rank,id\n1,{0}\n2,{1}\n"),
    ],
)
def test_named_images_are_left_out_and_counted(tmp_path: Path, file: str, text: str) -> None:
    ids = names(tmp_path)
    (tmp_path / file).write_text(text.format(ids[0], ids[7]))
    settings = DEMO.model_copy(update={"exclude": tmp_path / file})
    data = prepare(settings, tmp_path / "cache")
    assert set(ids) - set(data.manifest["id"]) == {ids[0], ids[7]}
    assert data.summary.dropped == {"excluded by the user": 2}


def test_leaving_out_decodes_nothing_again(tmp_path: Path) -> None:
    ids = names(tmp_path)
    (tmp_path / "out.txt").write_text(ids[0])
    prepare(DEMO.model_copy(update={"exclude": tmp_path / "out.txt"}), tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "pixels").iterdir())) == 1


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("gone.txt", None, "cannot be read"),
        ("none.txt", "nobody\n", "none of its 1 ids matches an image .*the first is 'nobody'"),
        ("empty.txt", "", "none of its 0 ids"),
        ("bad.csv", "name\n1\n", "no column 'id'"),
    ],
)
def test_a_file_that_names_nothing_is_refused_in_words(
    tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / file).write_text(text)
    settings = DEMO.model_copy(update={"exclude": tmp_path / file})
    with pytest.raises(DataError, match=rf"data\.exclude: .*{file}.*{message}"):
        prepare(settings, tmp_path / "cache")


def test_a_class_is_not_emptied_unseen(tmp_path: Path) -> None:
    manifest = prepare(DEMO, tmp_path / "cache").manifest
    label = manifest["label"].iloc[0]
    ids = manifest.loc[manifest["label"] == label, "id"]
    (tmp_path / "out.txt").write_text("\n".join(ids))
    settings = DEMO.model_copy(update={"exclude": tmp_path / "out.txt"})
    with pytest.raises(DataError, match=f"every image of class {label!r}"):
        prepare(settings, tmp_path / "cache")
