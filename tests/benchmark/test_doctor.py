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
    assert "error" not in done.out


def _no_folder(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return ["tracking.folder=file/x"]


def _damaged_store(folder: Path) -> list[str]:
    (folder / "mlruns").mkdir()
    (folder / "mlruns" / "mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    return []


FAULTS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "folder": (_no_folder, "is not writable"),
    "tracking": (_damaged_store, "bench sync"),
    "tracking uri": (lambda folder: ["tracking.uri=http://127.0.0.1:9"], "start the server"),
    "device": (lambda folder: ["device=cuda:63"], "cuda:63 is not available"),
    "data": (lambda folder: ["data={source: kaggle, path: none.zip}"], "none.zip"),
    "weights": (lambda folder: ["model.weights=nowhere"], "nowhere does not exist"),
}


@pytest.mark.parametrize(
    "faults",
    [("folder",), ("device", "tracking"), ("tracking uri", "data", "weights")],
    ids="+".join,
)
def test_faults_are_found_and_their_remedies_reported(
    faults: tuple[str, ...], bench: Bench, tmp_path: Path
) -> None:
    """Several at a time: each is reported in its own row, and no other check fails.

    Where the folder is missing, the checks that need it fail after it.
    """
    made = [(name.split()[0], *FAULTS[name]) for name in faults]
    settings = [part for _, make, _ in made for one in make(tmp_path) for part in ("--set", one)]
    done = bench("doctor", "-c", "tiny.yaml", *settings)
    assert done.code == 1, done.out
    rows = [line.split() for line in done.out.splitlines()]
    checks = [row[0] for row in rows if row[1:2] == ["error"]]
    assert checks[: len(faults)] == [check for check, _, _ in made]
    assert len(checks) == len(faults) or faults == ("folder",)
    for _, _, words in made:
        assert words in " ".join(done.out.split())
    assert "Traceback" not in done.out + done.err


@pytest.fixture
def hub_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that is not there; it holds the weights of test_resnet."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "hf/hub/models--timm--test_resnet.r160_in1k"
    for path in (folder / "refs/main", folder / "snapshots/abc/model.safetensors"):
        path.parent.mkdir(parents=True)
        path.write_text("abc")
    return folder


@pytest.mark.parametrize(("setting", "code"), [("auto", 0), ("pretrained", 1)])
def test_weights_that_need_a_hub_that_is_away_are_reported(
    setting: str, code: int, bench: Bench, hub_away: Path
) -> None:
    done = bench("doctor", "-c", "tiny.yaml", "--set", f"model.weights={setting}")
    assert done.code == code, done.out
    assert "weights ok" not in " ".join(done.out.split())
    assert "test_resnet available; test_efficientnet to be downloaded from the hub" in _found(
        done.out
    )
    assert "127.0.0.1:9 cannot be reached" in _found(done.out)


def _found(out: str) -> str:
    """What the last row of the doctor's table says in its column of findings."""
    lines = out.splitlines()
    header = next(line for line in lines if "remedy" in line)
    start, end = header.index("result"), header.index("remedy")
    row = next(place for place, line in enumerate(lines) if line.split()[:1] == ["weights"])
    return " ".join(line[start:end].strip() for line in lines[row:] if line.strip())


def test_weights_at_hand_need_no_hub(bench: Bench, hub_away: Path) -> None:
    settings = ("--set", "model.weights=pretrained", "--set", "architectures=[test_resnet]")
    done = bench("doctor", "-c", "tiny.yaml", *settings)
    assert done.code == 0, done.out
    assert "test_resnet available" in _found(done.out)
    assert "cannot be reached" not in done.out


def test_torch_and_torchvision_that_do_not_fit_are_reported(bench: Bench, tmp_path: Path) -> None:
    """A torchvision that fails as one built for another torch does."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    done = run_bench(tmp_path, "doctor", "-c", "tiny.yaml", variables=variables)
    assert done.code == 1
    assert "operator torchvision::nms does not exist" in done.out
    assert "device ok cpu: cpu" in " ".join(done.out.split()), "other checks go on"
    assert "in one command" in done.out
