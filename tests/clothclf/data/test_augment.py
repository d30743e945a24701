"""RandAugment, erasing, mixing, crops and balanced classes depend only on seed and epoch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from timm.data.mixup import mixup_target

from clothclf.data.batches import ImageBatches
from clothclf.data.crops import resized_crop
from clothclf.data.dataset import SplitImages
from clothclf.data.views import draw_views
from clothclf.settings import AugmentSettings
from tests.clothclf.data.test_batches import RAW, epoch, split

CLASSES = 3
PLAIN = {"horizontal_flip": False}
ALL: list[dict[str, Any]] = [
    {"rand_augment": "rand-m9-mstd0.5"},
    {"random_erasing": 0.5},
    {"mixup": 0.4},
    {"cutmix": 1.0},
    {"mixup": 0.4, "cutmix": 1.0, "mix_probability": 0.5},
    {"random_resized_crop": 0.3},
]


def batches(seed: int = 5, size: int = 8, count: int = 37, **augment: Any) -> ImageBatches:
    splits = {"train": split(count, 0), "valid": split(11, 1), "test": split(10, 2)}
    settings = AugmentSettings.model_validate(augment)
    return ImageBatches(splits, RAW, settings, size, seed, torch.device("cpu"))


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_an_epochs_draws_are_of_its_seed_and_number_alone(augment: dict[str, Any]) -> None:
    """They do not depend on what ran before; another epoch or seed gives other draws."""
    created = batches(**augment)
    images, targets = epoch(created, 2)
    epoch(created, 1)
    random.seed(3)
    np.random.seed(4)
    again, same = epoch(batches(**augment), 2)
    assert np.array_equal(again, images)
    assert np.array_equal(same, targets)
    assert not np.array_equal(epoch(created, 3)[0], images)
    assert not np.array_equal(epoch(batches(6, **augment), 2)[0], images)


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_an_epoch_can_be_entered_in_its_middle(augment: dict[str, Any]) -> None:
    created = batches(**augment)
    whole, rest = list(created.train(1)), list(created.train(1, 3))
    for (images, targets), (again, same) in zip(whole[3:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(targets, same)


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_nobody_elses_generators_are_moved(augment: dict[str, Any]) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), float(torch.rand(())))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    epoch(batches(**augment), 1)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_held_out_images_stay_as_they_are(augment: dict[str, Any]) -> None:
    created = batches(**augment)
    part = created.splits["valid"]
    images = torch.cat([p for p, _ in created.held_out("valid")]).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images, part.pixels[part.rows])


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_a_digest_tells_the_new_draws_apart(augment: dict[str, Any]) -> None:
    one, other, plain = batches(**augment), batches(6, **augment), batches()
    digests = {one.views(1).digest(), one.views(2).digest(), other.views(1).digest()}
    assert len({*digests, plain.views(1).digest()}) == 4


def test_digests_of_plain_recipes_are_what_they_were() -> None:
    """Digests of existing records must stay comparable with new ones."""
    assert draw_views(37, 2, 5, AugmentSettings(crop_padding=3)).digest() == "99f393c5512f"


@pytest.mark.parametrize("count", [37, 32])
def test_mixup_blends_images_and_labels_by_one_share(count: int) -> None:
    """Images are paired from both ends of the batch; the last of an odd batch is not mixed."""
    plain, mixed = batches(count=count, **PLAIN), batches(count=count, mixup=0.4, **PLAIN)
    for (images, targets), (blend, shares) in zip(plain.train(1), mixed.train(1), strict=True):
        paired = len(targets) - len(targets) % 2
        share = lowest_share(shares[:paired], targets[:paired])
        assert torch.allclose(shares[:paired], mixup_target(targets[:paired], CLASSES, share))
        expected = share * images[:paired] + (1 - share) * images[:paired].flip(0)
        assert torch.allclose(blend[:paired], expected, atol=1e-3)
        assert torch.equal(blend[paired:], images[paired:])
        assert torch.equal(shares[paired:], torch.eye(CLASSES)[targets[paired:]])


def lowest_share(shares: torch.Tensor, targets: torch.Tensor) -> float:
    """Weight of an image's own label, read from an image whose partner has another label."""
    differs = (targets != targets.flip(0)).nonzero()[0, 0]
    return float(shares[differs, targets[differs]])


def test_cutmix_pastes_a_rectangle_and_shares_labels_by_its_area() -> None:
    plain, mixed = batches(**PLAIN), batches(cutmix=1.0, **PLAIN)
    pasted = 0
    for (images, targets), (blend, shares) in zip(plain.train(1), mixed.train(1), strict=True):
        paired = len(targets) - len(targets) % 2
        own = (blend[:paired] == images[:paired]).all(1)
        other = (blend[:paired] == images[:paired].flip(0)).all(1)
        assert bool((own | other).all())
        area = float((~own).float().mean())
        share = lowest_share(shares[:paired], targets[:paired])
        assert share == pytest.approx(1 - area, abs=0.02)
        pasted += area > 0
    assert pasted >= 3


def test_a_share_of_batches_is_mixed() -> None:
    created = batches(size=2, count=400, mixup=1.0, mix_probability=0.25)
    shares = torch.cat([targets for _, targets in created.train(1)])
    mixed = float((shares.max(1).values < 1).float().mean())
    assert 0.1 < mixed < 0.3  # pairs of the same class are not visible


def test_erased_rectangles_have_the_mean_colour() -> None:
    plain, erased = batches(**PLAIN), batches(random_erasing=1.0, **PLAIN)
    for (images, targets), (changed, same) in zip(plain.train(1), erased.train(1), strict=True):
        assert torch.equal(targets, same)
        missing = changed != images
        assert bool((changed[missing] == 0).all())
        shares = missing.any(1).float().mean(dim=(1, 2))
        assert float(shares.max()) < 0.5
        assert int((shares > 0).sum()) >= len(shares) - 1


def test_rand_augment_changes_images_and_keeps_labels() -> None:
    plain, changed = batches(**PLAIN), batches(rand_augment="rand-m9-n3-p1.0", **PLAIN)
    images, targets = epoch(plain, 1)
    others, same = epoch(changed, 1)
    assert np.array_equal(targets, same)
    moved = (images != others).any(axis=(1, 2, 3))
    assert moved.mean() > 0.9
    assert others.min() >= 0
    assert others.max() <= 255


def test_a_resized_crop_is_pillows_up_to_rounding() -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image))[None]
    box = torch.tensor([[0.1, 0.25, 0.5, 0.6]])
    (cut,) = resized_crop(pixels, box).numpy()
    expected = image.resize((40, 40), Image.Resampling.BILINEAR, box=(10, 4, 34, 24))
    inside = (slice(3, -3), slice(3, -3))
    assert np.abs(cut[inside].astype(int) - np.array(expected)[inside]).max() <= 2


def test_a_resized_crop_of_everything_changes_nothing() -> None:
    pixels = torch.from_numpy(split(4, 0).pixels)
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(4, 4)
    assert torch.equal(resized_crop(pixels, box), pixels)


def test_resized_crops_keep_their_share_and_stay_inside() -> None:
    box = draw_views(20_000, 1, 0, AugmentSettings(random_resized_crop=0.2)).box
    assert box is not None
    top, left, height, width = box.T
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-9
    area, aspect = height * width, width / height
    assert 0.19 < area.min() < 0.21
    assert 0.5 < area.mean() < 0.65
    assert 3 / 4 - 1e-9 <= aspect.min() < 0.76
    assert 1.32 < aspect.max() <= 4 / 3 + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_balanced_sampling_draws_every_class_as_often(seed: int) -> None:
    """The number of images is unchanged; classes differ by at most one, and images take turns."""
    targets = np.repeat([0, 1, 2], [50, 7, 23])
    views = draw_views(80, 1, seed, AugmentSettings(), targets)
    counts = np.bincount(targets[views.order])
    assert sorted(counts) == [26, 27, 27]
    times = np.bincount(views.order, minlength=80)
    assert times[:50].max() == 1
    assert set(times[50:57]) <= {3, 4}
    assert set(times[57:]) <= {1, 2}


def test_batches_of_balanced_classes_have_the_labels_of_their_images() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], [30, 6])
    pixels = rng.integers(0, 256, (36, 4, 4, 3), dtype=np.uint8)
    part = SplitImages([""] * 36, targets, np.arange(36), pixels)
    splits = dict.fromkeys(("train", "valid", "test"), part)
    created = ImageBatches(
        splits,
        RAW,
        AugmentSettings(horizontal_flip=False),
        8,
        0,
        torch.device("cpu"),
        sampling="balanced",
    )
    images, labels = epoch(created, 1)
    assert list(np.bincount(labels)) == [18, 18]
    stored = {image.tobytes(): target for image, target in zip(pixels, targets, strict=True)}
    drawn = images.astype(np.uint8)
    assert [stored[image.tobytes()] for image in drawn] == list(labels)
