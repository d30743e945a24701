"""Custom architectures: found in the current folder, hashed and built, with clear errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clothclf.cost.cache import cache_path
from clothclf.cost.count import CostRequest, count_cost
from clothclf.errors import ArchitectureError, WeightsError
from clothclf.models.architectures import create_for_size, default_size, expand_names
from clothclf.models.check_weights import check_architecture
from clothclf.models.custom import SOURCE, load_function, source_sha256
from clothclf.models.load_weights import load_backbone
from clothclf.models.weights import WeightsResolver
from clothclf.settings import HeadSettings

CODE = """\
import sys
from torch import nn

def small(num_classes=0, img_size=8):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    body.built_for = (num_classes, img_size)
    return body

def bare():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

def raises():
    raise KeyError("no such part")

def leaves():
    sys.exit(3)

def number():
    return 3

def maps():
    return nn.Conv2d(3, 4, 3)

thing = 5
"""

Write = Callable[[str, str], None]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name of a module in the current folder that no other test imported."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def test_a_function_is_told_classes_and_size_as_far_as_it_takes_them(module: str) -> None:
    built = create_for_size(f"{module}:small", 32, num_classes=0)
    assert built.built_for == (0, 32)
    assert create_for_size(f"{module}:bare", 32, num_classes=0)(torch.zeros(1, 3, 8, 8)).ndim == 2
    assert default_size(f"{module}:small") == 224


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("raises", "cannot be built: KeyError: 'no such part'"),
        ("leaves", "cannot be built: SystemExit: 3"),
        ("number", "returns int, not a torch.nn.Module"),
        ("maps", r"no feature vector to classify: its output for one image is \[1, 4, 6, 6\]"),
        ("nothing", "has no 'nothing'"),
        ("thing", "defines 'thing', which is not a function"),
    ],
)
def test_what_is_wrong_with_a_function_is_told_in_one_sentence(
    module: str, function: str, says: str
) -> None:
    with pytest.raises(ArchitectureError, match=says) as caught:
        check_architecture(f"{module}:{function}", 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:f", "module 'no_such_module' was not found in the current folder"),
        ("torch.no_such:f", "module 'torch.no_such' was not found"),
        ("sys:exit", "module 'sys' is not a Python file"),
        ("own:", "neither a timm model name nor module:function"),
        ("../x:f", "neither a timm model name nor module:function"),
    ],
)
def test_a_module_that_is_not_there_is_told_before_anything_runs(name: str, says: str) -> None:
    with pytest.raises(ArchitectureError, match=says):
        expand_names([name])


def test_a_module_that_fails_is_named_with_its_file(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("import no_such_library\n")
    with pytest.raises(ArchitectureError, match=rf"{module}.py cannot be imported: ModuleNotFound"):
        load_function(f"{module}:small")


def test_the_source_is_hashed_without_running_it(module: str, tmp_path: Path) -> None:
    before = source_sha256(f"{module}:small")
    (tmp_path / f"{module}.py").write_text("raise SystemExit('it was run')\n")
    assert source_sha256(f"{module}:small") != before


def test_what_is_kept_of_an_architecture_ends_with_its_code(module: str, tmp_path: Path) -> None:
    request = CostRequest(f"{module}:small", 16, 2, HeadSettings())
    before = cache_path(request, tmp_path)
    model = create_for_size(f"{module}:small", 16, num_classes=0)
    assert getattr(model, SOURCE) == source_sha256(f"{module}:small")
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write("# changed\n")
    assert cache_path(request, tmp_path) != before


def test_a_counting_process_finds_the_module(module: str) -> None:
    """3 x 3 x 3 products at 14 x 14 positions of 4 maps, plus 4 x 2 in the head."""
    cost = count_cost(CostRequest(f"{module}:small", 16, 2, HeadSettings()))
    assert cost.macs == 27 * 14 * 14 * 4 + 8


def test_weights_are_a_file_that_fits_or_random(module: str, tmp_path: Path) -> None:
    name, folder = f"{module}:small", tmp_path / "weights"
    folder.mkdir()
    state = {key: value + 1 for key, value in create_for_size(name, 16).state_dict().items()}
    save_file(state, folder / f"{module}.small.safetensors")
    backbone = load_backbone(name, 16, WeightsResolver(str(folder)).resolve(name))
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    random = WeightsResolver("auto").resolve(name)
    assert random.origin == "random"
    assert "has no pretrained weights" in random.note
    save_file({"0.weight": torch.zeros(2, 2)}, folder / f"{module}.small.safetensors")
    with pytest.raises(WeightsError, match=r'does not fit .*"0.weight" is \[2, 2\]'):
        load_backbone(name, 16, WeightsResolver(str(folder)).resolve(name))
