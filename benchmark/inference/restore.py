"""Build a run's trained classifier again from what was saved of it, or say why that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.runs.spec import RunSpec
from clothclf.data.atomic import file_sha256
from clothclf.errors import WeightsError
from clothclf.results import Weights
from clothclf.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from clothclf.models.classifier import Classifier

SELF_CONTAINED = "train with --set tracking.weights=full for a model that needs nothing else"


class SavedModel(Settings):
    """What must be known beside the tensors to build a classifier again."""

    run_id: str
    spec: RunSpec
    body_sha256: str
    """Of the backbone before training: one that is not saved must be built the same."""
    tensors_sha256: str
    """Of the file of tensors."""

    @property
    def is_self_contained(self) -> bool:
        """Whether all parameters are saved, and not only those that training changed."""
        return self.spec.save_weights == "full" or self.spec.model.mode != "frozen"


def restore(saved: SavedModel, tensors: Path) -> Classifier:
    """The classifier as it was after training, on the CPU, ready to answer.

    `tensors` is the run's model.safetensors. Parameters of a frozen backbone that it lacks are
    built as the run built them: drawn from the seed, or loaded from the same weights. Raises
    WeightsError if they are not available, or differ.
    """
    from benchmark.runs.inputs import build_from
    from clothclf.models.weights import state_hash

    state = _read(saved, tensors)
    if saved.is_self_contained:
        drawn = Weights("random", "random", "", None)
        classifier = build_from(saved.spec.model_copy(update={"weights": drawn}))
    else:
        weights = _weights(saved)
        classifier = build_from(saved.spec.model_copy(update={"weights": weights}))
        if state_hash(classifier.backbone) != saved.body_sha256:
            raise WeightsError(
                f"run {saved.run_id}: its backbone, {weights.name} weights, comes out differently "
                "here than where it was trained (another version of torch or timm?); "
                f"use those of the run's record, or {SELF_CONTAINED}"
            )
    _load(classifier, state, saved)
    return classifier.requires_grad_(False).eval()


def _read(saved: SavedModel, tensors: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    from clothclf.models.classifier import current_names

    try:
        if file_sha256(tensors) != saved.tensors_sha256:
            raise WeightsError(f"{tensors}: is not what run {saved.run_id} saved; log it again")
        return current_names(load_file(tensors))
    except OSError as error:
        raise WeightsError(f"{tensors}: cannot be read: {error.strerror or error}") from None


def _weights(saved: SavedModel) -> Weights:
    """The weights that the run started from, if they can be had and are still the same."""
    weights, architecture = saved.spec.weights, saved.spec.architecture
    if weights.origin == "random":
        return weights
    if weights.path is not None and weights.path.is_file():
        found = weights
    elif weights.origin == "pretrained":
        found = _from_hub(saved, architecture)
    else:
        raise WeightsError(
            f"run {saved.run_id}: its backbone started from {weights.path}, which is not there; "
            f"put the file back, or {SELF_CONTAINED}"
        )
    if found.path is None or file_sha256(found.path) != weights.sha256:
        raise WeightsError(
            f"run {saved.run_id}: its backbone started from {weights.name}, and {found.path} is "
            f"another file by now; put the old one back, or {SELF_CONTAINED}"
        )
    return found


def _from_hub(saved: SavedModel, architecture: str) -> Weights:
    from clothclf.models.weights import WeightsResolver

    try:
        return WeightsResolver("pretrained").resolve(architecture)
    except WeightsError as error:
        raise WeightsError(
            f"run {saved.run_id}: the weights that its backbone started from cannot be had "
            f"({error}); {SELF_CONTAINED}"
        ) from None


def _load(classifier: Classifier, state: dict[str, Tensor], saved: SavedModel) -> None:
    expected = classifier.state_dict() if saved.is_self_contained else classifier.trained_tensors()
    wrong = sorted(set(state) ^ set(expected)) or sorted(
        name for name, tensor in expected.items() if tensor.shape != state[name].shape
    )
    if wrong:
        raise WeightsError(
            f"run {saved.run_id}: what was saved of {saved.spec.architecture} does not fit what "
            f'this version of timm builds: "{wrong[0]}"; use the version of the run\'s record'
        )
    classifier.load_state_dict(state, strict=False)
