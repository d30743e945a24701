"""Feature cache: computed once, complete, and reused only for the same input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clothclf.data.batches import ImageBatches
from clothclf.data.dataset import SplitImages
from clothclf.models.build import build_classifier
from clothclf.models.classifier import Classifier
from clothclf.models.features import BackboneFeatures
from clothclf.models.load_weights import state_hash
from clothclf.models.weights import RANDOM
from clothclf.settings import AugmentSettings, HeadSettings, ModelSettings, Precision

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32


def build(seed: int = 0, precision: Precision = "float32", hidden: int | None = None) -> Classifier:
    head = HeadSettings(hidden=hidden)
    return build_classifier(
        "test_resnet", head, ModelSettings(), 3, SIZE, RANDOM, seed, precision=precision
    )


def feed(classifier: Classifier, content: str = "these") -> ImageBatches:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (70, SIZE, SIZE, 3), dtype=np.uint8)
    rows = np.arange(70)
    split = SplitImages([str(row) for row in rows], rows % 3, rows, pixels, content)
    splits = {"train": split, "valid": split, "test": split}
    return ImageBatches(
        splits, classifier.normalization, AugmentSettings(), 16, 0, torch.device("cpu")
    )


def images_computed(classifier: Classifier, cache: Path, content: str = "these") -> int:
    """Count the images that the backbone processes for features of two views."""
    seen = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal seen
        seen += len(inputs[0]) * (len(inputs[0]) > 2)  # two at a time try the folded norms

    handle = classifier.backbone.register_forward_pre_hook(count)
    BackboneFeatures(classifier, feed(classifier, content), cache).of("train", 2)
    handle.remove()
    return seen


def files_in(cache: Path) -> list[Path]:
    return sorted(cache.rglob("features.npy"))


def test_what_is_kept_is_what_is_computed_and_is_found_again(tmp_path: Path) -> None:
    classifier = build()
    images = feed(classifier)
    plain = BackboneFeatures(classifier, images, None).of("train", 2)
    saved = BackboneFeatures(classifier, images, tmp_path).of("train", 2)
    assert torch.equal(plain, saved)
    mirrored = torch.from_numpy(images.splits["train"].pixels).flip(2)
    with torch.inference_mode():
        expected = classifier.features(classifier.normalization.apply(mirrored))
    assert torch.allclose(plain[1], expected, atol=1e-5)
    assert images_computed(classifier, tmp_path) == 0
    assert images_computed(build(hidden=8), tmp_path) == 0  # another head, the same backbone


@pytest.mark.parametrize(
    ("other", "content"),
    [(build(seed=1), "these"), (build(precision="bfloat16"), "these"), (build(), "others")],
    ids=["backbone", "precision", "images"],
)
def test_what_changes_the_features_finds_none(
    other: Classifier, content: str, tmp_path: Path
) -> None:
    assert images_computed(build(), tmp_path) == 140
    assert images_computed(other, tmp_path, content) == 140
    assert len(files_in(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut", "noise", "one row", "no-description"])
def test_damaged_features_are_computed_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = build()
    before = BackboneFeatures(classifier, feed(classifier), tmp_path).of("train", 2).clone()
    (file,) = files_in(tmp_path)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "noise":
        file.write_bytes(content[:256] + bytes(len(content) - 256))
    elif damage == "one row":
        row = len(content) // 140
        file.write_bytes(content[: -2 * row] + bytes(row) + content[-row:])
    else:
        (file.parent / "features.json").unlink()
    assert caplog.messages == []
    assert images_computed(classifier, tmp_path) == 140
    assert caplog.messages == ["the cached features are damaged; computing them again"]
    assert torch.equal(
        BackboneFeatures(classifier, feed(classifier), tmp_path).of("train", 2), before
    )


def test_norms_are_folded_once_for_all_splits() -> None:
    """Two images at a time try the folded norms: one pass to find them, one to compare."""
    classifier = build()
    tried = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal tried
        tried += len(inputs[0]) == 2

    classifier.backbone.register_forward_pre_hook(count)
    features = BackboneFeatures(classifier, feed(classifier), None)
    for split in ("train", "valid", "test"):
        features.of(split)
    # The copy has the hook, too, and is compared.
    assert tried == 3


def test_a_known_hash_of_the_backbone_is_not_computed_again(tmp_path: Path) -> None:
    """It names the same cached features, and another one names others."""
    classifier = build()
    images = feed(classifier)
    BackboneFeatures(classifier, images, tmp_path).of("valid")
    known = state_hash(classifier.backbone)
    BackboneFeatures(classifier, images, tmp_path, known).of("valid")
    assert len(files_in(tmp_path)) == 1
    BackboneFeatures(classifier, images, tmp_path, "another").of("valid")
    assert len(files_in(tmp_path)) == 2


def test_training_never_reaches_the_kept_file(tmp_path: Path) -> None:
    classifier = build()
    features = BackboneFeatures(classifier, feed(classifier), tmp_path).of("train", 2)
    (file,) = files_in(tmp_path)
    content = file.read_bytes()
    features.zero_()
    assert file.read_bytes() == content


def test_bfloat16_features_are_close_and_float32_in_form() -> None:
    exact, narrow = build(), build(precision="bfloat16")
    result = [BackboneFeatures(item, feed(item), None).of("valid")[0] for item in (exact, narrow)]
    assert result[1].dtype == torch.float32
    change = float((result[1] - result[0]).norm() / result[0].norm())
    assert 0 < change < 0.05
