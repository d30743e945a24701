"""What passed the checks of a plan is not checked again, until something it depends on changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmark.config.study import load_study
from benchmark.planning.initial_weights import weights_of
from benchmark.planning.preflight import check_once
from clothclf.errors import UserError
from clothclf.models.architectures import create
from tests.benchmark.conftest import TINY

ASKED = "train.optimizer=adamw"


def check(folder: Path, *assignments: str) -> int:
    """Check the tiny study with weights from a file; return how many passed checks are known."""
    (folder / "tiny.yaml").write_text(TINY)
    weights = f"model.weights={folder / 'own.safetensors'}"
    study = load_study(folder / "tiny.yaml", (weights, ASKED, *assignments))
    entries = [
        entry.model_copy(update={"image_size": 32})
        for entry in study.architectures
        if entry.name == "test_resnet"
    ]
    resolve = weights_of(study)
    check_once(study, entries, {entry.name: resolve(entry) for entry in entries}, folder / "cache")
    return len(list((folder / "cache/checks").iterdir()))


def test_a_check_is_repeated_only_if_what_it_depends_on_changes(tmp_path: Path) -> None:
    state = create("test_resnet").state_dict()
    save_file(state, tmp_path / "own.safetensors")
    assert check(tmp_path) == 1
    assert check(tmp_path) == 1
    assert check(tmp_path, "train.learning_rate=0.5") == 2
    save_file({**state, "fc.bias": torch.ones(7)}, tmp_path / "own.safetensors")
    with pytest.raises(UserError, match="does not fit test_resnet"):
        check(tmp_path)
    with pytest.raises(UserError, match="does not fit test_resnet"):
        check(tmp_path)


def test_a_recipe_that_fails_is_not_remembered(tmp_path: Path) -> None:
    save_file(create("test_resnet").state_dict(), tmp_path / "own.safetensors")
    for _ in range(2):
        with pytest.raises(UserError, match=r"train\.optimizer: 'adamx' is not known to timm"):
            check(tmp_path, "train.optimizer=adamx")
