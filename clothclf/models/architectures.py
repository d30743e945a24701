"""Look up and create architectures by name: timm models and custom ones."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clothclf.errors import ArchitectureError, did_you_mean, first_line
from clothclf.models.custom import create_custom, is_custom, source_sha256

if TYPE_CHECKING:
    from torch import nn

    from clothclf.data.batches import Normalization

WILDCARDS = frozenset("*?[")


def is_wildcard(name: str) -> bool:
    """Return whether a name contains wildcards."""
    return any(mark in name for mark in WILDCARDS)


def expand_names(patterns: Sequence[str]) -> list[str]:
    """Expand wildcards (timm's: `*`, `?`) to the names they match; keep order, drop duplicates.

    A wildcard with a dot matches names with tags: `efficientnet_b0.*`. Raises ArchitectureError
    for a name that timm does not know (with similar names), for a wildcard that matches nothing,
    and for a `module:function` whose module is not found.
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        for name in _matches(pattern):
            names[name] = None
    return list(names)


def _matches(pattern: str) -> list[str]:
    if is_custom(pattern):
        source_sha256(pattern)
        return [pattern]
    timm = _timm()
    if is_wildcard(pattern):
        matched: list[str] = timm.list_models(pattern, pretrained="." in pattern)
        if not matched:
            what = "timm architecture with a tag" if "." in pattern else "timm architecture"
            raise ArchitectureError(f"architecture {pattern!r} matches no {what}")
        return matched
    if not timm.is_model(pattern):
        hint = did_you_mean(pattern, timm.list_models())
        raise ArchitectureError(
            f"architecture {pattern!r} is not known to timm {timm.__version__}{hint}"
        )
    pretrained_config(pattern)
    return [pattern]


def create(name: str, **options: Any) -> nn.Module:
    """Create a model with `timm.create_model`, or with a custom function.

    Raises ArchitectureError with one sentence.
    """
    if is_custom(name):
        return create_custom(name, **options)
    timm = _timm()
    try:
        model: nn.Module = timm.create_model(name, **options)
    except Exception as error:  # timm's builders raise arbitrary exceptions
        first = first_line(error)
        raise ArchitectureError(f"architecture {name!r} cannot be built: {first}") from error
    return model


def create_for_size(name: str, image_size: int, **options: Any) -> nn.Module:
    """Create a model for square images of `image_size` pixels.

    Architectures with position embeddings take the size as an argument; others reject it.
    """
    if own_input_size(name)[1:] == (image_size, image_size):
        return create(name, **options)
    try:
        return create(name, img_size=image_size, **options)
    except ArchitectureError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
    return create(name, **options)


def default_size(name: str) -> int:
    """Return timm's default input size of an architecture in pixels (its width)."""
    return own_input_size(name)[-1]


def own_input_size(name: str) -> tuple[int, int, int]:
    """Return timm's default channels, height and width of an architecture."""
    config = pretrained_config(name)
    if config is None:
        return 3, 224, 224
    channels, height, width = config.input_size
    return int(channels), int(height), int(width)


def size_of(name: str, image_size: int | str) -> int:
    """Resolve a size of the settings to pixels: a number, or `native` for timm's default."""
    return image_size if isinstance(image_size, int) else default_size(name)


def tags(name: str) -> list[str]:
    """Return the tags of timm's weights for an architecture, its default first."""
    if is_custom(name):
        return []
    names: list[str] = _timm().list_pretrained(f"{name.partition('.')[0]}.*")
    default = pretrained_config(name.partition(".")[0])
    first = None if default is None else default.tag
    return sorted((item.partition(".")[2] for item in names), key=lambda tag: (tag != first, tag))


def family(name: str) -> str:
    """Return the module of timm that defines an architecture: `resnet`; empty for any other."""
    if is_custom(name) or not _timm().is_model(name):
        return ""
    module: str = _timm().model_entrypoint(name).__module__
    return module.rpartition(".")[2]


def pretrained_config(name: str) -> Any:
    """Return timm's pretrained configuration of `name` or `name.tag`; None if there is none.

    Raises ArchitectureError for an unknown tag.
    """
    if is_custom(name):
        return None
    timm = _timm()
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError:
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        hint = did_you_mean(name, known) or f" (known: {', '.join(known)})"
        raise ArchitectureError(
            f"architecture {name!r} has a tag that timm {timm.__version__} does not know{hint}"
        ) from None


def normalization(model: nn.Module) -> Normalization:
    """Return the mean and standard deviation of the model's pretrained configuration."""
    from clothclf.data.batches import Normalization

    config = getattr(model, "pretrained_cfg", {}) or {}
    mean = config.get("mean") or (0.485, 0.456, 0.406)
    std = config.get("std") or (0.229, 0.224, 0.225)
    return Normalization(tuple(map(float, mean)), tuple(map(float, std)))


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Create tensors on the meta device, in the context.

    timm is imported before, because torchvision cannot be imported there with torch 2.8 and older.
    """
    import torch

    _timm()
    with torch.device("meta"):
        yield


def _timm() -> Any:
    with _quiet():
        import timm
    return timm


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
