"""Weights files: loaded completely or rejected in one sentence, and never executed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clothclf.errors import ArchitectureError, WeightsError
from clothclf.models.load_weights import load_backbone
from clothclf.models.weights import RANDOM, WeightsResolver

SIZE = 64
State = dict[str, Tensor]


def learnt_state(name: str, **options: object) -> State:
    """State dict as after training: no tensor has its initial value."""
    generator = torch.Generator().manual_seed(1)
    state = timm.create_model(name, **options).state_dict()
    return {
        key: value + torch.rand(value.shape, generator=generator) if value.ndim else value
        for key, value in state.items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def saved(folder: Path, state: State, name: str = "weights.safetensors") -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, folder / name)
    return folder / name


def load(path: Path, name: str, size: int = SIZE) -> nn.Module:
    return load_backbone(name, size, WeightsResolver(str(path)).resolve(name))


def refusal(path: Path, name: str) -> str:
    with pytest.raises(WeightsError) as caught:
        load(path, name)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def holds(backbone: nn.Module, state: State) -> bool:
    """Return whether all of the backbone's tensors equal those of the file."""
    return all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_random_weights_follow_the_seed() -> None:
    assert WeightsResolver("none").resolve("test_resnet") == RANDOM

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return next(load_backbone("test_resnet", SIZE, RANDOM).parameters())

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "dla46_c"])
def test_a_file_is_loaded_whole_and_its_classifier_thrown_away(folder: Path, name: str) -> None:
    state = learnt_state(name)
    path = saved(folder, state)
    backbone = load(path, name)
    assert holds(backbone, state)
    assert backbone(torch.zeros(2, 3, SIZE, SIZE)).ndim == 2
    weights = WeightsResolver(str(path)).resolve(name)
    assert (weights.origin, weights.name, weights.note) == ("file", path.name, "")
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_holds_a_file_for_each_architecture(folder: Path) -> None:
    states = {name: learnt_state(name) for name in ("test_resnet", "test_efficientnet")}
    for name, state in states.items():
        saved(folder, state, f"{name}.safetensors")
    for name, state in states.items():
        assert holds(load(folder, name), state)
    with pytest.raises(WeightsError, match=r"there is no file .*/vgg11\.safetensors; give auto"):
        load(folder, "vgg11")


@pytest.mark.parametrize("classes", [0, 7])
def test_any_classifier_or_none_may_be_in_the_file(folder: Path, classes: int) -> None:
    state = learnt_state("test_resnet", num_classes=classes)
    assert holds(load(saved(folder, state), "test_resnet"), state)


def test_positions_are_fitted_to_another_size(folder: Path) -> None:
    """Position embeddings are resized; all other tensors are loaded unchanged."""
    state = learnt_state("test_vit")
    backbone = load(saved(folder, state), "test_vit", 96)
    names = dict(backbone.named_parameters())
    position = names.pop("pos_embed")
    assert position.shape[1] == 36 + 1
    assert all(torch.equal(value, state[name]) for name, value in names.items())
    assert backbone(torch.zeros(1, 3, 96, 96)).shape == (1, 64)


@pytest.mark.parametrize("wrapped", [False, True])
def test_pickled_tensors_are_read(folder: Path, wrapped: bool) -> None:
    state = learnt_state("test_resnet")
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, folder / "w.pth")
    backbone = load(folder / "w.pth", "test_resnet")
    assert holds(backbone, state)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_no_second_copy_of_the_parameters_is_kept(folder: Path, suffix: str) -> None:
    """timm would keep the state dict in the model's configuration."""
    state = learnt_state("test_resnet")
    if suffix == "pth":
        torch.save(state, folder / "w.pth")
    else:
        saved(folder, state, "w.safetensors")
    backbone = load(folder / f"w.{suffix}", "test_resnet")
    for config in (backbone.pretrained_cfg, backbone.default_cfg):
        assert not any(isinstance(value, (dict, Tensor)) for value in config.values())


def test_the_wrong_architecture_is_refused(folder: Path) -> None:
    path = saved(folder, learnt_state("test_vit"))
    assert 'does not fit test_resnet: it has no "' in refusal(path, "test_resnet")
    path = saved(folder, learnt_state("resnet18"))
    assert "does not fit resnet34" in refusal(path, "resnet34")


def test_a_wrong_shape_is_refused_by_name(folder: Path) -> None:
    state = learnt_state("test_resnet")
    state["layer1.0.conv1.weight"] = torch.zeros(2, 2, 1, 1)
    message = refusal(saved(folder, state), "test_resnet")
    assert '"layer1.0.conv1.weight" is [2, 2, 1, 1] in the file and [' in message


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "dla46_c"])
@pytest.mark.parametrize("kind", ["weight", "bias", "running_mean"])
def test_a_missing_parameter_is_refused_by_name(folder: Path, name: str, kind: str) -> None:
    """Also for dla, which timm loads non-strictly."""
    state = learnt_state(name)
    missing = [key for key in state if key.endswith(kind)][1]
    del state[missing]
    assert f'it has no "{missing}"' in refusal(saved(folder, state), name)


def test_an_unknown_parameter_is_refused_by_name(folder: Path) -> None:
    state = learnt_state("test_resnet") | {"extra.weight": torch.zeros(3)}
    assert 'it has an unknown "extra.weight"' in refusal(saved(folder, state), "test_resnet")


def test_no_code_in_a_pickle_is_run(folder: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(folder / "run"),)

    torch.save({"a": Hostile()}, folder / "w.pth")
    told = refusal(folder / "w.pth", "test_resnet")
    assert "is not a readable weights file: it holds posix.mkdir besides tensors" in told
    assert not (folder / "run").exists()


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)


@pytest.mark.parametrize(
    "save",
    [
        _script,
        lambda path: path.write_bytes(b"\x80\x02}q\x00."[:-1]),
        lambda path: path.write_bytes(b"<html>"),
        lambda path: torch.save(nn.Linear(1, 1), path),
    ],
    ids=["TorchScript", "cut short", "a page", "a module"],
)
def test_nobody_is_advised_to_run_what_is_in_a_file(
    folder: Path, save: Callable[[Path], object]
) -> None:
    """As torch does, which names the option that has it load without a check."""
    save(folder / "w.pth")
    told = refusal(folder / "w.pth", "test_resnet")
    assert "is not a readable weights file" in told
    assert "weights_only" not in told
    assert "\x1b" not in told


@pytest.mark.parametrize("content", [b"", b"\x10" * 64, b"PK\x03\x04", b'{"a": 1}'])
@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin", "pt"])
def test_rubbish_is_refused(folder: Path, suffix: str, content: bytes) -> None:
    path = folder / f"w.{suffix}"
    path.write_bytes(content)
    assert "is not a readable weights file" in refusal(path, "test_resnet")


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = saved(folder, learnt_state("test_resnet"))
    path.write_bytes(path.read_bytes()[:-100])
    assert "is not a readable weights file" in refusal(path, "test_resnet")


def test_files_without_tensors_are_refused_and_the_hub_not_asked(folder: Path) -> None:
    torch.save({}, folder / "w.pth")
    torch.save([1, 2], folder / "list.pth")
    assert "contains no tensors" in refusal(folder / "w.pth", "test_resnet")
    assert "contains no tensors" in refusal(saved(folder, {}), "test_resnet")
    assert "does not contain named tensors" in refusal(folder / "list.pth", "test_resnet")


def test_paths_that_are_no_weights_are_refused_with_the_choices(folder: Path) -> None:
    (folder / "w.txt").write_text("text")
    with pytest.raises(WeightsError, match=r"not a \.safetensors, \.pth, \.pt or \.bin file"):
        load(folder / "w.txt", "test_resnet")
    with pytest.raises(WeightsError, match=r"there is no file .* give auto, pretrained, none"):
        load(folder / "nothing.safetensors", "test_resnet")


def test_a_refused_size_is_not_blamed_on_the_weights(folder: Path) -> None:
    path = saved(folder, learnt_state("test_vit"))
    with pytest.raises(ArchitectureError, match="test_vit"):
        load(path, "test_vit", 8)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0"])
def test_real_weights_are_loaded(real_weights: Path, name: str) -> None:
    state = load_file(real_weights / f"{name}.safetensors")
    backbone = load(real_weights, name, 112)
    assert holds(backbone, state)
    assert backbone.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
