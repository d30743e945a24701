"""A run's identity covers what changes its numbers, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.study import StudySettings
from benchmark.planning.architecture_names import match_architectures
from benchmark.runs.spec import RunSpec, folder_name, make_plan
from clothclf.results import Weights
from clothclf.settings import (
    ArchitectureSettings,
    AugmentSettings,
    DataSettings,
    EmaSettings,
    HeadSettings,
    ModelSettings,
    TrainSettings,
)
from tests.benchmark.examples import DATA, make_spec

NUMBERS_CHANGE: list[dict[str, Any]] = [
    {"architecture": "resnet18"},
    {"seed": 1},
    {"precision": "bfloat16"},
    {"head": HeadSettings(hidden=8)},
    {"data": DataSettings(image_size=64)},
    {"data_summary": DATA.__class__(**{**vars(DATA), "fingerprint": "e" * 16})},
    {"model": ModelSettings(mode="finetune")},
    {"model": ModelSettings(batch_norm="drifting")},
    {"train": TrainSettings(epochs=3)},
    {"train": TrainSettings(optimizer="adamw")},
    {"train": TrainSettings(label_smoothing=0.1)},
    {"train": TrainSettings(optimizer_options={"nesterov": True})},
    {"train": TrainSettings(ema=EmaSettings(decay=0.99))},
    {"train": TrainSettings(augment=AugmentSettings(mixup=0.2))},
    {"train": TrainSettings(augment=AugmentSettings(horizontal_flip=False))},
    {"weights": Weights("file", "a.safetensors", "ab" * 32, Path("a.safetensors"))},
]
NUMBERS_STAY: list[dict[str, Any]] = [
    {"device": "cuda:1"},
    {"pixels": Path("/elsewhere/pixels.npy")},
    {"cache": Path("/elsewhere")},
    {"save_weights": "full"},
    {"measure": True},
    {"study": "another"},
    {"weights": Weights("random", "random", "", None, note="the hub is away")},
]


@pytest.mark.parametrize("change", NUMBERS_CHANGE, ids=str)
def test_what_changes_the_numbers_makes_another_run(change: dict[str, Any]) -> None:
    assert make_spec(**change).run_id != make_spec().run_id


@pytest.mark.parametrize("change", NUMBERS_STAY, ids=str)
def test_what_does_not_change_the_numbers_is_the_same_run(change: dict[str, Any]) -> None:
    assert make_spec(**change).run_id == make_spec().run_id


def test_runs_made_before_recipes_had_further_keys_keep_their_names() -> None:
    recipe = TrainSettings(
        schedule="cosine", weight_decay=0.01, augment=AugmentSettings(crop_padding=4), patience=3
    )
    assert make_spec().run_id == "2858f6ffbc8b"
    assert make_spec(train=recipe).run_id == "418ac377d6b1"


def test_runs_made_when_all_had_one_size_are_read_and_keep_their_names() -> None:
    values = json.loads(make_spec().model_dump_json())
    for later in ("image_size", "several_sizes", "source_sha256"):
        del values[later]
    old = RunSpec.model_validate_json(json.dumps(values))
    assert old.image_size == 112
    assert (old.run_id, old.protocol_id) == (make_spec().run_id, make_spec().protocol_id)
    assert (old.run_id, old.protocol_id, old.name) == ("2858f6ffbc8b", "62a6db2324e3", "vgg16-s0")


def test_sizes_of_a_sweep_share_a_protocol_and_a_further_one_changes_no_run() -> None:
    def at(size: int, *sizes: int) -> RunSpec:
        data = DataSettings(image_size=sizes)
        return make_spec(data=data, image_size=size, several_sizes=True)

    assert at(64, 64, 96).run_id == at(64, 64, 96, 160).run_id
    assert at(64, 64, 96).run_id != at(96, 64, 96).run_id
    assert at(64, 64, 96).protocol_id == at(96, 64, 96).protocol_id != make_spec().protocol_id
    assert at(64, 64, 96).name == "vgg16-64px-s0"


def test_other_code_of_ones_own_architecture_is_another_run() -> None:
    own = make_spec("own:net", source_sha256="ab" * 32)
    assert own.run_id != make_spec("own:net", source_sha256="cd" * 32).run_id


def test_weights_are_known_by_content_not_by_name() -> None:
    here = Weights("file", "a.safetensors", "ab" * 32, Path("a.safetensors"))
    moved = Weights("file", "b.safetensors", "ab" * 32, Path("/x/b.safetensors"))
    assert make_spec(weights=here).run_id == make_spec(weights=moved).run_id


def test_a_spec_travels_as_json() -> None:
    spec = make_spec(head=HeadSettings(hidden=8))
    again = RunSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.run_id == spec.run_id


def test_a_plan_has_every_architecture_with_every_seed_and_its_own_head() -> None:
    study = StudySettings(
        study="s",
        architectures=(
            ArchitectureSettings(name="a", head=HeadSettings(hidden=4)),
            ArchitectureSettings(name="b"),
        ),
        seeds=(0, 1),
    )
    weights = {name: Weights("random", "random", "", None) for name in "ab"}
    plan = make_plan(study, study.architectures, DATA, Path("p"), Path("c"), weights)
    assert [(spec.architecture, spec.seed, spec.head.hidden) for spec in plan] == [
        ("a", 0, 4),
        ("a", 1, 4),
        ("b", 0, None),
        ("b", 1, None),
    ]
    assert len({folder_name(spec) for spec in plan}) == 4


def test_an_architecture_asked_for_by_name_keeps_the_head_of_the_study() -> None:
    own = ArchitectureSettings(name="a", head=HeadSettings(hidden=4))
    study = StudySettings(study="s", architectures=(own,))
    assert match_architectures(study, ["a"]) == (own,)
    assert match_architectures(study, ["c"]) == (ArchitectureSettings(name="c"),)
