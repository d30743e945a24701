"""Damage of a power failure to a run folder is detected and repaired."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.runs import run_folder as files
from benchmark.runs.run_folder import RunFolder, study_folders
from tests.faults import study
from tests.faults.conftest import Undisturbed
from tests.faults.test_kill import kill_at

Damage = Callable[[Path], None]


def _cut(share: float) -> Damage:
    def cut(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return cut


def _noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:  # a log may be empty
        content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, Damage] = {
    "removed": lambda path: path.unlink(),
    "emptied": _cut(0),
    "cut in half": _cut(0.5),
    "cut at the end": _cut(0.999),
    "noise": _noise,
    "one bit": _flip,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_file_of_a_finished_run_is_accepted(
    damage: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Every file listed in a record, and the record itself."""
    whole = next(study_folders(undisturbed.folder / "mlruns", "faults"))
    record = whole.verified_record()
    assert record is not None
    assert {files.MODEL, files.PREDICTIONS, files.MANIFEST, files.CONFIG} <= set(record.files)
    for name in (*record.files, files.RECORD):
        copy = tmp_path / name
        shutil.copytree(whole.path, copy)
        assert RunFolder(copy).verified_record() == record
        DAMAGES[damage](copy / name)
        assert RunFolder(copy).verified_record() is None, name


def test_damaged_runs_are_done_again_to_the_same_figures(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """One run's record is truncated, another's model is noise."""
    shutil.copytree(undisturbed.folder / "mlruns", tmp_path / "mlruns")
    first, second = study_folders(tmp_path / "mlruns", "faults")
    DAMAGES["cut in half"](first.path / files.RECORD)
    DAMAGES["noise"](second.path / files.MODEL)
    study.finish(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_what_a_killed_run_left_is_rejected_when_damaged(
    share: float, damage: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Every file of unfinished runs, including checkpoints and cached stages, and of the cache."""
    kill_at(tmp_path, share * undisturbed.seconds)
    for folder in study_folders(tmp_path / "mlruns", "faults"):
        for path in [path for path in folder.path.rglob("*") if path.is_file()]:
            DAMAGES[damage](path)
    study.finish(tmp_path)
    assert study.figures(tmp_path) == undisturbed.figures
    study.assert_whole_in_mlflow(tmp_path)
