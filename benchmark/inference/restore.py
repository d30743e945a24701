"""Restore a run's trained classifier from its saved files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import MODEL
from benchmark.runs.spec import RunSpec
from benchmark.runs.upgrade import upgraded_model
from clothclf.data.atomic import file_sha256
from clothclf.errors import WeightsError
from clothclf.results import Weights
from clothclf.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from clothclf.models.classifier import Classifier

SELF_CONTAINED = "train with --set tracking.weights=full for a self-contained model"


class SavedModel(Settings):
    """Metadata needed with the saved tensors to restore a classifier."""

    upgrade: ClassVar[Callable[[Any], Any]] = staticmethod(upgraded_model)

    run_id: str
    spec: RunSpec
    backbone_sha256: str
    """Hash of the backbone before training, to verify a backbone that was not saved."""
    tensors_sha256: str
    """Hash of the tensor file."""
    temperature: float = 1.0
    """Divides the scores, so that probabilities are calibrated; 1 if it was not fitted."""

    @classmethod
    def of(cls, record: RunRecord) -> SavedModel:
        """Return the metadata of a finished run."""
        return cls(
            run_id=record.run_id,
            spec=record.spec,
            backbone_sha256=record.backbone_sha256,
            tensors_sha256=record.files[MODEL],
            temperature=record.training.temperature or 1.0,
        )

    @property
    def is_self_contained(self) -> bool:
        """Whether all parameters are saved, not only the trained ones."""
        return self.spec.save_weights == "full" or self.spec.model.mode != "frozen"


def restore(saved: SavedModel, tensors: Path) -> Classifier:
    """Restore the trained classifier on the CPU, in evaluation mode.

    `tensors` is the run's model.safetensors. Parameters of a frozen backbone that it does not
    contain are initialised as in the run: from the seed, or from the same weights. Raises
    WeightsError if they are not available or differ.
    """
    from benchmark.runs.inputs import build_from
    from clothclf.models.load_weights import state_hash

    state = _read(saved, tensors)
    if saved.is_self_contained:
        drawn = Weights("random", "random", "", None)
        classifier = build_from(saved.spec.model_copy(update={"weights": drawn}))
    else:
        weights = initial_weights(saved)
        classifier = build_from(saved.spec.model_copy(update={"weights": weights}))
        if state_hash(classifier.backbone) != saved.backbone_sha256:
            raise WeightsError(
                f"run {saved.run_id}: its backbone ({weights.name} weights) differs from the one "
                "it was trained with, possibly due to another version of torch or timm; use the "
                f"versions in the run's record, or {SELF_CONTAINED}"
            )
    _load(classifier, state, saved)
    classifier.temperature = saved.temperature
    return classifier.requires_grad_(False).eval()


def _read(saved: SavedModel, tensors: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    from clothclf.models.classifier import current_names

    try:
        if file_sha256(tensors) != saved.tensors_sha256:
            raise WeightsError(
                f"{tensors}: has changed since run {saved.run_id} saved it; log it again"
            )
        return current_names(load_file(tensors))
    except OSError as error:
        raise WeightsError(f"{tensors}: cannot be read: {error.strerror or error}") from None


def initial_weights(saved: SavedModel) -> Weights:
    """Initial weights of the run; raises WeightsError if they are missing or have changed."""
    weights, architecture = saved.spec.weights, saved.spec.architecture
    if weights.origin == "random":
        return weights
    if weights.path is not None and weights.path.is_file():
        current = weights
    elif weights.origin == "pretrained":
        current = _from_hub(saved, architecture)
    else:
        raise WeightsError(
            f"run {saved.run_id}: the initial weights of its backbone, {weights.path}, are "
            f"missing; restore the file, or {SELF_CONTAINED}"
        )
    if current.path is None or file_sha256(current.path) != weights.sha256:
        raise WeightsError(
            f"run {saved.run_id}: the initial weights of its backbone, {weights.name}, have "
            f"changed in {current.path}; restore the old file, or {SELF_CONTAINED}"
        )
    return current


def _from_hub(saved: SavedModel, architecture: str) -> Weights:
    from clothclf.models.weights import WeightsResolver

    try:
        return WeightsResolver("pretrained").resolve(architecture)
    except WeightsError as error:
        raise WeightsError(
            f"run {saved.run_id}: the initial weights of its backbone are not available ({error}); "
            f"{SELF_CONTAINED}"
        ) from None


def _load(classifier: Classifier, state: dict[str, Tensor], saved: SavedModel) -> None:
    expected = classifier.state_dict() if saved.is_self_contained else classifier.trained_tensors()
    mismatched = sorted(set(state) ^ set(expected)) or sorted(
        name for name, tensor in expected.items() if tensor.shape != state[name].shape
    )
    if mismatched:
        raise WeightsError(
            f"run {saved.run_id}: the saved parameters of {saved.spec.architecture} do not match "
            f'this version of timm: "{mismatched[0]}"; use the version in the run\'s record'
        )
    classifier.load_state_dict(state, strict=False)
