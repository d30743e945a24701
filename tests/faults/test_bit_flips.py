"""A flipped bit in any file of the tracking folder changes no figure of a report.

Each kind of file gets 9 flips, or 200 in the slow variant; BENCH_FLIP_SEED draws others.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.config.study import load_study
from benchmark.runs import run_folder as files
from benchmark.runs.audits import Audit, AuditHead, Suspect, store_audit
from benchmark.runs.run_folder import study_folders
from benchmark.select.selection_result import write_result
from tests.benchmark.conftest import StudyRun, run_bench

SEED = int(os.environ.get("BENCH_FLIP_SEED", "0"))
QUICK, LONG = 9, 200
REPORTS = (
    ("report", "--format", "json"),
    ("report", "--format", "html"),
    ("report", "--format", "json", "--from-select"),
)
SIDES = ("test_resnet-s0", "test_efficientnet-s0")
COMPARED = ("compare", *SIDES, "--format", "json")
KINDS = (
    *("spec.json", "config.yaml", "manifest.parquet", "findings.csv", "epochs.jsonl", "cost.json"),
    *("predictions.parquet", "predictions_valid.parquet", "confusion.png", "model.safetensors"),
    *("log.txt", "record.json"),
    *("pixels.npy", "images.parquet", "cache.json", "costs/*.json", "audits/*.json"),
    *("selections/*.json", "stress/*.json"),
)


@pytest.fixture(scope="module")
def stored_study(tiny_study: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny study, with an audit of its data and the answer of a selection."""
    folder = tmp_path_factory.mktemp("kept") / "study"
    shutil.copytree(tiny_study.folder, folder)
    root = folder / "mlruns"
    for result in study_folders(root, "tiny"):
        (result.path / files.LOG).write_text("a line\n")  # may be empty otherwise
    records = [result.record() for result in study_folders(root, "tiny")]
    finished = [record for record in records if record is not None]
    assert len(finished) == 2
    data = finished[0].spec.data_summary
    doubted = Suspect(id="x", label="a", suggested="b", p_label=0.1, p_suggested=0.9, split="test")
    head = AuditHead(
        architecture="test_resnet", image_size=32, weights="none", weights_sha256="", accuracy=0.75
    )
    audit = Audit(
        fingerprint=data.fingerprint, title=data.title, heads=(head,), folds=5, images=50,
        accuracy=0.75, suspects=(doubted,),
    )  # fmt: skip
    store_audit(root, audit)
    stressed = run_bench(
        folder, "stress", "-c", "tiny.yaml", "--severity", "5", "--corruption", "fog"
    )
    assert stressed.code == 0, stressed.err
    study = load_study(folder / "tiny.yaml", [f"tracking.folder={root}"])
    write_result(root, study, "tiny-0a1b2c3d", finished[:1], finished)
    return folder


def outcome_of(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Return a command's exit code and output; raise unexpected errors."""
    setting = f"tracking.folder={folder / 'mlruns'}"
    done = CliRunner().invoke(main, [*arguments, "-c", str(folder / "tiny.yaml"), "--set", setting])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "Traceback" not in done.output
    return done.exit_code, done.stdout


def rows_of(output: str) -> dict[str, dict[str, Any]]:
    (comparison,) = json.loads(output)["comparisons"]
    rows = {row["architecture"]: row for row in comparison["rows"]}
    # Figures relative to other runs depend on which runs are left.
    return {
        name: {key: v for key, v in row.items() if "best" not in key and "rank" not in key}
        for name, row in rows.items()
    }


def assert_no_other_figure(whole: str, flipped: str) -> None:
    """Each figure is unchanged or missing."""
    before, after = rows_of(whole), rows_of(flipped)
    assert set(after) <= set(before)
    for name, row in after.items():
        for key, value in row.items():
            assert value in (before[name][key], None, []), (name, key)


def flip(path: Path, random_bit: random.Random) -> int:
    """Flip one bit of a file; return its index."""
    content = bytearray(path.read_bytes())
    bit = random_bit.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))
    return bit


def flips(stored_study: Path, kind: str, count: int) -> None:
    """Flip `count` bits in files of a kind, one at a time, with a report after each."""
    root = stored_study / "mlruns"
    paths = sorted(path for path in root.rglob(kind) if path.stat().st_size)
    assert paths
    commands = [*REPORTS[:2], COMPARED] if "runs" in str(paths[0].relative_to(root)) else REPORTS
    whole = {command: outcome_of(stored_study, command) for command in commands}
    assert {code for code, _ in whole.values()} == {0}
    bits = random.Random(f"{kind} {SEED}")
    for number in range(count):
        path, command = bits.choice(paths), commands[number % len(commands)]
        before = path.read_bytes()
        bit = flip(path, bits)
        try:
            code, output = outcome_of(stored_study, command)
        except Exception as error:
            error.args = (f"bit {bit} of {path}, {' '.join(command)}: {error}",)
            raise
        finally:
            path.write_bytes(before)
        if command is COMPARED:
            assert (code, output) == whole[command] or code == 2, (bit, path)
        elif code == 0 and "json" in command:
            assert_no_other_figure(whole[command][1], output)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_changes_no_figure(kind: str, stored_study: Path) -> None:
    flips(stored_study, kind, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_flipped_bits_change_no_figure(kind: str, stored_study: Path) -> None:
    flips(stored_study, kind, LONG)


@pytest.mark.slow
def test_flipped_bits_of_the_store_end_in_a_sentence(stored_study: Path, tmp_path: Path) -> None:
    """Or it has no effect: MLflow's store is a copy, which no report reads figures from."""
    bits = random.Random(SEED)
    for number in range(LONG // 10):
        folder = tmp_path / str(number)
        shutil.copytree(stored_study, folder)
        for end in ("-wal", "-shm"):
            (folder / "mlruns" / f"mlflow.db{end}").unlink(missing_ok=True)
        bit = flip(folder / "mlruns" / "mlflow.db", bits)
        done = run_bench(folder, "sync", "-c", "tiny.yaml")
        assert done.code in (0, 2), (bit, done)
        assert "Traceback" not in done.err, (bit, done)
        shutil.rmtree(folder)
