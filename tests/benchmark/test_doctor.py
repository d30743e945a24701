"""The doctor finds real faults, says what to do, and is content where all is well."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmark.conftest import Bench, StudyRun, run_bench


def test_all_is_well_with_a_study_that_ran(tiny_study: StudyRun) -> None:
    done = run_bench(tiny_study.folder, "doctor", "-c", "tiny.yaml")
    assert done.code == 0, done.out
    assert "2 finished, 0 failed, 0 unfinished" in done.out
    assert "fault" not in done.out


def _no_folder(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return ["tracking.folder=file/x"]


def _damaged_store(folder: Path) -> list[str]:
    (folder / "mlruns").mkdir()
    (folder / "mlruns" / "mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    return []


FAULTS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "folder": (_no_folder, "cannot be written"),
    "tracking": (_damaged_store, "bench sync"),
    "tracking uri": (lambda folder: ["tracking.uri=http://127.0.0.1:9"], "start the server"),
    "device": (lambda folder: ["device=cuda:63"], "cuda:63 is not there"),
    "data": (lambda folder: ["data={source: kaggle, path: none.zip}"], "none.zip"),
    "weights": (lambda folder: ["model.weights=nowhere"], "no nowhere"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_a_way_out_told(fault: str, bench: Bench, tmp_path: Path) -> None:
    make, words = FAULTS[fault]
    settings = [part for setting in make(tmp_path) for part in ("--set", setting)]
    done = bench("doctor", "-c", "tiny.yaml", *settings)
    assert done.code == 1, done.out
    rows = [line.split() for line in done.out.splitlines()]
    assert next(row[0] for row in rows if row[1:2] == ["fault"]) == fault.split()[0]
    assert words in " ".join(done.out.split())
    assert "Traceback" not in done.out + done.err


def test_torch_and_torchvision_that_do_not_fit_are_told(bench: Bench, tmp_path: Path) -> None:
    """A torchvision that fails as one built for another torch does."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    done = run_bench(tmp_path, "doctor", "-c", "tiny.yaml", variables=variables)
    assert done.code == 1
    assert "operator torchvision::nms does not exist" in done.out
    assert "in one command" in done.out
