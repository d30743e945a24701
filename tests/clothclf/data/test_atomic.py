"""Files and folders are written atomically."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clothclf.data.atomic import new_folder, write_bytes, write_text


def test_a_file_is_replaced_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "first")
    write_text(path, "sécond")
    assert path.read_text("utf-8") == "sécond"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, "text where bytes belong")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_is_not_there_until_it_is_full(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with new_folder(target) as unfinished:
        (unfinished / "a").write_text("a")
        assert not target.exists()
    assert (target / "a").read_text() == "a"
    assert [item.name for item in target.parent.iterdir()] == ["folder"]


def test_a_folder_whose_filling_fails_never_appears(tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "folder") as unfinished:
            (unfinished / "a").write_text("a")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_of_two_fillings_the_first_to_finish_stays(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with new_folder(target) as slow:
        with new_folder(target) as fast:
            (fast / "who").write_text("fast")
        (slow / "who").write_text("slow")
    assert (target / "who").read_text() == "fast"
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


KILLED = """
import os, sys
from pathlib import Path
from clothclf.data.atomic import new_folder

with new_folder(Path(sys.argv[1]) / "folder") as unfinished:
    (unfinished / "large").write_bytes(bytes(1000))
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_swept_by_the_next_that_fills_a_folder(
    tmp_path: Path,
) -> None:
    """Whatever name it was to have; folders that another process is filling stay."""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "large").exists()
    with new_folder(tmp_path / "slow") as slow:
        with new_folder(tmp_path / "other"):
            pass
        assert slow.is_dir()
        assert sorted(tmp_path.iterdir()) == [slow, tmp_path / "other"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["other", "slow"]
