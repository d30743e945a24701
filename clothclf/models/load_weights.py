"""Load initial weights into a backbone, and check that they match."""

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

from clothclf.errors import ArchitectureError, WeightsError, first_line
from clothclf.models.architectures import create_for_size, pretrained_config
from clothclf.models.classifier import feature_count
from clothclf.models.custom import is_custom
from clothclf.results import Weights

MAX_CLASSES = 100_000
"""Maximum number of classes of a checkpoint's classifier; published ones have up to 22,000."""


def load_backbone(name: str, image_size: int, weights: Weights) -> nn.Module:
    """Build an architecture without its classifier, and load its weights.

    The whole checkpoint, including its classifier, must match by name and shape; raises
    WeightsError with the first mismatch. Random weights are drawn from torch's current seed.
    """
    if weights.path is None:
        return create_for_size(name, image_size, num_classes=0)
    content = _read(weights.path)
    if is_custom(name):
        return _load_own(name, image_size, content)
    classes = _classes_in(content.shapes, name)
    if classes > MAX_CLASSES:
        # A tensor [N, 0] takes no space in the file, but a classifier of N classes needs memory.
        raise WeightsError(
            f"model.weights: {weights.path} does not fit {name}: its classifier has "
            f"{classes:,} classes, more than {MAX_CLASSES:,}"
        )
    before = torch.get_rng_state()
    model = _create_loaded(name, image_size, classes, content)
    if unnamed := [item for item in _trained_tensors(model) if item not in content.shapes]:
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        initial = create_for_size(name, image_size, num_classes=classes)
        torch.set_rng_state(after)
        if unset := _first_equal(_trained_tensors(model), _trained_tensors(initial), unnamed):
            raise WeightsError(
                f'model.weights: {weights.path} does not fit {name}: it has no "{unset}"'
            )
    reset: Any = model.reset_classifier
    reset(0)
    return model


def _load_own(name: str, image_size: int, content: _Content) -> nn.Module:
    """Build a custom backbone and load the file, which must contain exactly its tensors."""
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
    # The classifier is discarded, so its background class (label_offset) can be kept.
    overlay = {"num_classes": classes, "custom_load": False, "label_offset": 0, **content.overlay}
    options = {"pretrained": True, "num_classes": classes, "pretrained_cfg_overlay": overlay}
    try:
        model = create_for_size(name, image_size, **options)
    except ArchitectureError as error:
        # If the size is the problem and not the file, this raises the appropriate error.
        feature_count(create_for_size(name, image_size, num_classes=0), image_size, name)
        raise WeightsError(
            f"model.weights: {content.path} does not fit {name}: {_mismatch(error.__cause__)}"
        ) from None
    for config in (model.pretrained_cfg, model.default_cfg):
        # timm would keep a second copy of all parameters in the configuration.
        config.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return model


def _first_equal(
    loaded: dict[str, Tensor], initial: dict[str, Tensor], names: list[str]
) -> str | None:
    """Return the first of `names` whose tensor still has its initial value; None if none.

    timm renames parameters of some architectures on loading, and loads a few non-strictly; only
    the values show whether a parameter was loaded.
    """
    return next((name for name in names if torch.equal(loaded[name], initial[name])), None)


def _trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that training changes: parameters, and running statistics of norms."""
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    running = ("running_mean", "running_var")
    return trained | {name: t for name, t in model.named_buffers() if name.endswith(running)}


@dataclass(frozen=True)
class _Content:
    """Content of a weights file, and timm's options to load it."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    overlay: dict[str, Any]


def _read(path: Path) -> _Content:
    """Inspect a weights file, which is restricted to tensors and never executed."""
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            return _Content(path, _non_empty(shapes, path), {"file": str(path)})
        if _is_compressed(path):
            raise WeightsError(
                f"model.weights: {path} is a compressed archive, which torch never writes and "
                "which may unpack to any size; save it with torch.save"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # damaged files and pickles with code raise many exception types
        raise WeightsError(
            f"model.weights: {path} is not a readable weights file: {_why_unreadable(error)}"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"model.weights: {path} does not contain named tensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return _Content(path, _non_empty(shapes, path), {"state_dict": state})


def _why_unreadable(error: Exception) -> str:
    """Return torch's reason, without its advice to load the file in a way that executes code."""
    text = str(error)
    if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in text:
        return first_line(error)
    found = re.search(r"GLOBAL (\S+)", text)
    what = f"{found[1]} besides tensors" if found else "more than tensors, or is damaged"
    return f"it holds {what}; save the state_dict alone, as safetensors or with torch.save"


def _is_compressed(path: Path) -> bool:
    """Return whether a checkpoint's zip archive unpacks to more than its own size."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        declared = sum(info.file_size for info in archive.infolist())
    return declared > path.stat().st_size


def _non_empty(shapes: dict[str, tuple[int, ...]], path: Path) -> dict[str, tuple[int, ...]]:
    """Reject an empty file, for which timm would fall back to the hub."""
    if not shapes:
        raise WeightsError(f"model.weights: {path} contains no tensors")
    return shapes


def _classes_in(shapes: dict[str, tuple[int, ...]], name: str) -> int:
    """Return the number of classes of the checkpoint's classifier; 0 if it has none."""
    config = pretrained_config(name)
    classifier = config.classifier if config is not None else None
    first = classifier[0] if isinstance(classifier, (tuple, list)) else classifier
    for suffix in (".weight", ".bias"):
        if shape := shapes.get(f"{first}{suffix}"):
            return shape[0]
    return 0


def _mismatch(error: BaseException | None) -> str:
    """Summarize torch's error about a mismatching state dict in one sentence."""
    text = str(error)
    if wrong := re.search(r"size mismatch for (\S+): .*?Size\((.*?)\).*?Size\((.*?)\)", text):
        return f'"{wrong[1]}" is {wrong[2]} in the file and {wrong[3]} in the architecture'
    for start, meaning in (("Missing", "it has no"), ("Unexpected", "it has an unknown")):
        if match := re.search(rf"{start} key\(s\) in state_dict: (.*)", text):
            names = re.findall(r'"([^"]+)"', match[1])
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            return f'{meaning} "{names[0]}"{more}'
    return (text.splitlines() or [type(error).__name__])[0]


def state_hash(module: nn.Module) -> str:
    """Return a hash of all parameters and buffers by name, equal for equal modules."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        # Hash bytes, since numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
