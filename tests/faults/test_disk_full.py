"""A file system that is full, of its own: in memory, and small."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.conftest import Undisturbed

KIBIBYTE = 1024
SIZE = "24m"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs rights that are not given here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> Path:
    """Leave no more than so many bytes on the folder's file system."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        file.write(bytes(max(0, free - left)))
    return ballast


@pytest.mark.parametrize(
    "left_kib",
    [
        pytest.param(0, marks=pytest.mark.slow),
        64,
        pytest.param(512, marks=pytest.mark.slow),
        pytest.param(2048, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_ends_a_study_in_one_sentence_and_harms_nothing(
    left_kib: int, small: Path, undisturbed: Undisturbed
) -> None:
    """Full before anything begins, or in the middle of a run; with room, the study goes on."""
    (small / "faults.yaml").write_text(study.STUDY.replace("seeds: [0, 1]", "seeds: [0]"))
    study.finish(small)
    earlier = study.figures(small)
    (small / "faults.yaml").write_text(study.STUDY)
    (small / "output.txt").unlink()
    (small / "output.txt").symlink_to(small.parent / "output.txt")
    ballast = fill(small, left_kib * KIBIBYTE)
    code = study.start(small, "run", "--all").wait(120)
    said = study.output(small)
    print(said)
    assert "Traceback" not in said
    assert code == (1 if left_kib else 2)
    assert "No space left on device" in said
    assert study.figures(small) == earlier
    study.assert_no_process(small)
    ballast.unlink()
    study.finish(small, "--retry-failed")
    assert study.figures(small) == undisturbed.figures
    study.assert_whole_in_mlflow(small)
