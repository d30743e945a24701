"""Resolve initial weights: random, a file, a folder or the model hub."""

from __future__ import annotations

from pathlib import Path

from clothclf.connectivity import HUB_TIMEOUT_S, hub_error
from clothclf.data.atomic import file_sha256
from clothclf.errors import WeightsError, first_line
from clothclf.models.architectures import pretrained_config
from clothclf.results import Weights

RANDOM = Weights("random", "random", "", None)


class WeightsResolver:
    """Find the weights of each architecture; probes the hub only once."""

    def __init__(self, setting: str) -> None:
        """`setting` is `model.weights`: auto, pretrained, none, a file or a folder."""
        self.setting = setting
        self._hub_error: str | None = None
        self._hub_probed = False

    def resolve(self, architecture: str, setting: str | None = None) -> Weights:
        """Return the weights of an architecture; raises WeightsError with a remedy.

        `setting` overrides `model.weights` for this architecture.
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
            problem = f"timm has no pretrained weights for {architecture}"
        else:
            cached = cached_weights(repository)
            if cached is not None:
                return Weights("pretrained", repository, file_sha256(cached), cached)
            problem = self._probe_hub() or ""
            if not problem:
                try:
                    path = _download(repository)
                    return Weights("pretrained", repository, file_sha256(path), path)
                except Exception as error:  # the hub client raises many exception types
                    problem = f"{repository} cannot be downloaded: {first_line(error)}"
        if setting == "pretrained":
            raise WeightsError(
                f"model.weights: pretrained: {problem}; provide a folder of "
                "<architecture>.safetensors files (--set model.weights=FOLDER), set a mirror of "
                "the hub (HF_ENDPOINT), or choose random weights (--set model.weights=none)"
            )
        return Weights("random", "random", "", None, note=problem)

    def _probe_hub(self) -> str | None:
        """Return why the hub cannot be used, or None; probes once, with a timeout of 5 seconds."""
        if not self._hub_probed:
            self._hub_probed = True
            self._hub_error = hub_error("the model hub")
        return self._hub_error


def needs_hub(architecture: str) -> bool | None:
    """Return whether an architecture's weights need a download; None if none are published."""
    config = pretrained_config(architecture)
    repository = config.hf_hub_id if config is not None else None
    return None if repository is None else cached_weights(repository) is None


def cached_weights(repository: str) -> Path | None:
    """Return the cached weights file of a hub repository, or None."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, "model.safetensors")
    return Path(path) if isinstance(path, str) else None


def _download(repository: str) -> Path:
    from huggingface_hub import hf_hub_download

    name = "model.safetensors"
    return Path(hf_hub_download(repository, name, etag_timeout=HUB_TIMEOUT_S))


def weights_file(architecture: str) -> str:
    """Return the name of an architecture's file in a weights folder; `:` becomes `.`."""
    return f"{architecture.replace(':', '.')}.safetensors"


def _from_path(path: Path, architecture: str) -> Weights:
    try:
        if path.is_dir():
            path = path / weights_file(architecture)
        exists = path.is_file()
    except OSError as error:  # an invalid path, or a folder without read permission
        raise WeightsError(
            f"model.weights: {str(path)[:200]}: cannot be read: {error.strerror}"
        ) from None
    if not exists:
        raise WeightsError(
            f"model.weights: there is no file {path}; give auto, pretrained, none, a weights file "
            f"or a folder that contains {weights_file(architecture)}"
        )
    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise WeightsError(f"model.weights: {path}: not a .safetensors, .pth, .pt or .bin file")
    # Absolute, since a run may be restored from another folder.
    return Weights("file", path.name, file_sha256(path), path.absolute())
