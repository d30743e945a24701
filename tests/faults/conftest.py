"""The undisturbed study, run once for all that is compared with it."""

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
    """A finished study, and how long it took."""

    def __init__(self, folder: Path) -> None:
        """Run it."""
        started = time.monotonic()
        study.finish(folder)
        self.seconds = time.monotonic() - started
        self.folder = folder
        self.figures = study.figures(folder)
        assert sorted(self.figures) == [0, 1]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The study that nothing happened to."""
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 24 MiB, in memory."""
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
    """Leave no more than so many bytes on the folder's file system; return what fills it."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        file.write(bytes(max(0, free - left)))
    return ballast


def forbid_writing(folder: Path, forbidden: bool = True) -> None:
    """Make a file system of its own read-only, which stops even root; or undo it."""
    mode = "ro" if forbidden else "rw"
    subprocess.run(["mount", "-o", f"remount,{mode},size=24m", str(folder)], check=True)
