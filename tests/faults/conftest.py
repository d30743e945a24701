"""Fixtures: an undisturbed reference study, run once, and a small file system."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import study


class Undisturbed:
    """A finished study and its duration."""

    def __init__(self, folder: Path) -> None:
        """Run the study."""
        started = time.monotonic()
        study.finish(folder)
        self.seconds = time.monotonic() - started
        self.folder = folder
        self.figures = study.figures(folder)
        assert sorted(self.figures) == [0, 1]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Reference study without any injected fault."""
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Folder on an in-memory file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs rights that are not given here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Fill the folder's file system until `left` bytes are free; return the filler file."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        file.write(bytes(max(0, free - left)))
    return ballast


def forbid_writing(folder: Path, forbidden: bool = True) -> None:
    """Remount a file system read-only, which stops even root, or writable again."""
    mode = "ro" if forbidden else "rw"
    subprocess.run(["mount", "-o", f"remount,{mode},size=24m", str(folder)], check=True)
