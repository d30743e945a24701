"""Where parameters come from: random, a file, a folder or the model hub; how they are checked."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clothclf.data.atomic import file_sha256
from clothclf.errors import ArchitectureError, WeightsError, first_line
from clothclf.models.architectures import create_for_size, pretrained_config
from clothclf.models.classifier import feature_count
from clothclf.models.own import is_own
from clothclf.reach import HUB_PATIENCE_S, hub_fault
from clothclf.results import Weights

MAX_CLASSES = 100_000
"""Of a checkpoint's own classifier; the largest published have some 22,000."""
RANDOM = Weights("random", "random", "", None)


class WeightsResolver:
    """Finds the weights of each architecture; asks the hub once, however many there are."""

    def __init__(self, setting: str) -> None:
        """`setting` is `model.weights`: auto, pretrained, none, a file or a folder."""
        self.setting = setting
        self._hub_fault: str | None = None
        self._hub_asked = False

    def resolve(self, architecture: str, setting: str | None = None) -> Weights:
        """Return the weights for one architecture; raises WeightsError with the remedy.

        `setting` is the architecture's own, in place of `model.weights`.
        """
        setting = setting or self.setting
        if setting == "none":
            return RANDOM
        if setting in ("auto", "pretrained"):
            return self._from_hub(architecture, setting)
        return _from_path(Path(setting), architecture)

    def _from_hub(self, architecture: str, setting: str) -> Weights:
        config = pretrained_config(architecture)
        repository = config.hf_hub_id if config is not None else None
        if repository is None:
            fault = f"timm knows no pretrained weights for {architecture}"
        else:
            cached = cached_weights(repository)
            if cached is not None:
                return Weights("pretrained", repository, file_sha256(cached), cached)
            fault = self._hub() or ""
            if not fault:
                try:
                    path = _download(repository)
                    return Weights("pretrained", repository, file_sha256(path), path)
                except Exception as error:  # the hub client raises many kinds
                    fault = f"{repository} cannot be downloaded: {first_line(error)}"
        if setting == "pretrained":
            raise WeightsError(
                f"model.weights: pretrained: {fault}; give a folder of "
                "<architecture>.safetensors files (--set model.weights=FOLDER), name a mirror of "
                "the hub (HF_ENDPOINT), or train from random weights knowingly "
                "(--set model.weights=none)"
            )
        return Weights("random", "random", "", None, note=fault)

    def _hub(self) -> str | None:
        """Why the hub cannot be used, or None; it is asked once and given 5 seconds."""
        if not self._hub_asked:
            self._hub_asked = True
            self._hub_fault = hub_fault("the model hub")
        return self._hub_fault


def needs_hub(architecture: str) -> bool | None:
    """Whether an architecture's weights have to be fetched; None where none are published."""
    config = pretrained_config(architecture)
    repository = config.hf_hub_id if config is not None else None
    return None if repository is None else cached_weights(repository) is None


def cached_weights(repository: str) -> Path | None:
    """The file of a hub repository's weights, where it was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _download(repository: str) -> Path:
    from huggingface_hub import hf_hub_download

    name = "model.safetensors"
    return Path(hf_hub_download(repository, name, etag_timeout=HUB_PATIENCE_S))


def weights_file(architecture: str) -> str:
    """Name of an architecture's file in a folder of weights; a colon is a dot there."""
    return f"{architecture.replace(':', '.')}.safetensors"


def _from_path(path: Path, architecture: str) -> Weights:
    try:
        if path.is_dir():
            path = path / weights_file(architecture)
        there = path.is_file()
    except OSError as error:  # a name that no system takes, or a folder that is not ours to read
        raise WeightsError(
            f"model.weights: {str(path)[:200]}: cannot be read: {error.strerror}"
        ) from None
    if not there:
        raise WeightsError(
            f"model.weights: there is no file {path}; give auto, pretrained, none, a weights file "
            f"or a folder that holds {weights_file(architecture)}"
        )
    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise WeightsError(f"model.weights: {path}: is no .safetensors, .pth, .pt or .bin file")
    # Absolute: a run may be restored from another folder.
    return Weights("file", path.name, file_sha256(path), path.absolute())


def load_body(name: str, image_size: int, weights: Weights) -> nn.Module:
    """Build an architecture without its classifier, with the given weights.

    The whole checkpoint, its own classifier included, must fit name by name and shape by shape;
    raises WeightsError naming the first parameter that does not. Random weights are drawn from
    torch's current seed.
    """
    if weights.path is None:
        return create_for_size(name, image_size, num_classes=0)
    content = _read(weights.path)
    if is_own(name):
        return _load_own(name, image_size, content)
    classes = _classes_in(content.shapes, name)
    if classes > MAX_CLASSES:
        # A tensor of shape [N, 0] takes no byte of the file, but a classifier of N classes does.
        raise WeightsError(
            f"model.weights: {weights.path} does not fit {name}: its classifier has "
            f"{classes:,} classes, more than {MAX_CLASSES:,}"
        )
    before = torch.get_rng_state()
    model = _create_loaded(name, image_size, classes, content)
    if unnamed := [item for item in _learnt(model) if item not in content.shapes]:
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        drawn = create_for_size(name, image_size, num_classes=classes)
        torch.set_rng_state(after)
        if unset := _equal(_learnt(model), _learnt(drawn), unnamed):
            raise WeightsError(
                f'model.weights: {weights.path} does not fit {name}: it has no "{unset}"'
            )
    reset: Any = model.reset_classifier
    reset(0)
    return model


def _load_own(name: str, image_size: int, content: _Content) -> nn.Module:
    """The body that a function gives, with all of its tensors, and no others, from the file."""
    from safetensors.torch import load_file

    model = create_for_size(name, image_size, num_classes=0)
    state = content.overlay.get("state_dict") or load_file(content.path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"model.weights: {content.path} does not fit {name}: {_mismatch(error)}"
        ) from None
    return model


def _create_loaded(name: str, image_size: int, classes: int, content: _Content) -> nn.Module:
    # The classifier is thrown away: its background class (label_offset) may stay until then.
    overlay = {"num_classes": classes, "custom_load": False, "label_offset": 0, **content.overlay}
    options = {"pretrained": True, "num_classes": classes, "pretrained_cfg_overlay": overlay}
    try:
        model = create_for_size(name, image_size, **options)
    except ArchitectureError as error:
        # The size may be at fault, not the file: then this says so.
        feature_count(create_for_size(name, image_size, num_classes=0), image_size, name)
        raise WeightsError(
            f"model.weights: {content.path} does not fit {name}: {_mismatch(error.__cause__)}"
        ) from None
    for config in (model.pretrained_cfg, model.default_cfg):
        # timm keeps what it was given: a second copy of all parameters.
        config.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return model


def _equal(model: dict[str, Tensor], drawn: dict[str, Tensor], names: list[str]) -> str | None:
    """The first of `names` whose tensor is still as it was drawn from the same seed.

    timm renames parameters of some architectures while it loads them, and loads a few without
    asking for all of them: only the values tell one from the other.
    """
    return next((name for name in names if torch.equal(model[name], drawn[name])), None)


def _learnt(model: nn.Module) -> dict[str, Tensor]:
    """What training moves: parameters, and the running statistics of norms."""
    learnt = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    running = ("running_mean", "running_var")
    return learnt | {name: t for name, t in model.named_buffers() if name.endswith(running)}


@dataclass(frozen=True)
class _Content:
    """What a weights file holds, and how timm is told to load it."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    overlay: dict[str, Any]


def _read(path: Path) -> _Content:
    """Look into a file: tensors only, nothing in it is ever run."""
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            return _Content(path, _some(shapes, path), {"file": str(path)})
        if _is_packed(path):
            raise WeightsError(
                f"model.weights: {path} is compressed, as torch never writes it: it may unpack "
                "to any size; save it with torch.save"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # damaged files fail in many ways, pickles with code among them
        raise WeightsError(
            f"model.weights: {path} is not a readable weights file: {_why_unreadable(error)}"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"model.weights: {path} does not hold named tensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return _Content(path, _some(shapes, path), {"state_dict": state})


def _why_unreadable(error: Exception) -> str:
    """Torch's reason, without its advice to load the file in a way that runs what is in it."""
    text = str(error)
    if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in text:
        return first_line(error)
    found = re.search(r"GLOBAL (\S+)", text)
    what = f"{found[1]} beside tensors" if found else "something else than tensors, or is damaged"
    return f"it holds {what}; save the state_dict alone, as safetensors or with torch.save"


def _is_packed(path: Path) -> bool:
    """Whether a checkpoint's zip archive holds more than its own bytes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        declared = sum(info.file_size for info in archive.infolist())
    return declared > path.stat().st_size


def _some(shapes: dict[str, tuple[int, ...]], path: Path) -> dict[str, tuple[int, ...]]:
    """Refuse an empty file: given no tensors at all, timm would ask the hub for them."""
    if not shapes:
        raise WeightsError(f"model.weights: {path} holds no tensors")
    return shapes


def _classes_in(shapes: dict[str, tuple[int, ...]], name: str) -> int:
    """Classes of the checkpoint's own classifier; 0 where it has none."""
    config = pretrained_config(name)
    classifier = config.classifier if config is not None else None
    first = classifier[0] if isinstance(classifier, (tuple, list)) else classifier
    for suffix in (".weight", ".bias"):
        if shape := shapes.get(f"{first}{suffix}"):
            return shape[0]
    return 0


def _mismatch(error: BaseException | None) -> str:
    """The telling part of torch's long report on a state that does not fit, in one sentence."""
    text = str(error)
    if wrong := re.search(r"size mismatch for (\S+): .*?Size\((.*?)\).*?Size\((.*?)\)", text):
        return f'"{wrong[1]}" is {wrong[2]} there and {wrong[3]} in the architecture'
    for start, meaning in (("Missing", "it has no"), ("Unexpected", "it has an unknown")):
        if found := re.search(rf"{start} key\(s\) in state_dict: (.*)", text):
            names = re.findall(r'"([^"]+)"', found[1])
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            return f'{meaning} "{names[0]}"{more}'
    return (text.splitlines() or [type(error).__name__])[0]


def state_hash(module: nn.Module) -> str:
    """Hash over every parameter and buffer, by name: equal bodies have equal hashes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        # numpy has no bfloat16: bytes are the same under any type.
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
