"""A run that is forked from a server has the figures of one in a new interpreter."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import TINY, environment, run_bench

RECIPE = TINY.replace("mode: frozen, standardize_features: true", "mode: finetune").replace(
    ", test_efficientnet", ""
)


def figures(folder: Path, method: str) -> dict[str, Any]:
    """All figures of a study's runs except times, by architecture."""
    folder.mkdir()
    (folder / "tiny.yaml").write_text(RECIPE)
    variables = {**environment(), "BENCH_START_METHOD": method}
    done = run_bench(folder, "run", "--all", "-c", "tiny.yaml", "--debug", variables=variables)
    assert done.code == 0, done.err
    assert ("forked process" in done.err) == (method == "forkserver")
    result = {}
    for run in study_folders(folder / "mlruns", "tiny"):
        record = run.verified_record()
        assert record is not None
        assert record.cost is not None
        epochs = [
            {name: value for name, value in asdict(epoch).items() if "second" not in name}
            for epoch in record.training.epochs
        ]
        result[record.spec.architecture] = (
            record.run_id,
            record.backbone_sha256,
            record.environment.threads,
            epochs,
            asdict(record.test),
            record.files["predictions.parquet"],
            record.files["model.safetensors"],
            asdict(record.cost),
        )
    return result


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_a_forked_run_equals_a_spawned_one_bit_for_bit(tmp_path: Path) -> None:
    """Predictions, weights, losses and costs."""
    forked = figures(tmp_path / "forked", "forkserver")
    assert len(forked) == 1
    assert forked == figures(tmp_path / "spawned", "spawn")
