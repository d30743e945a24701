"""Batches contain every image once, augmented by seed and epoch, equal to a simple reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clothclf.data.batches import (
    FeatureBatches,
    ImageBatches,
    Normalization,
    draw_views,
    training_parts,
)
from clothclf.data.dataset import SplitImages
from clothclf.settings import AugmentSettings

SIZE = 12
MEAN_STD = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RAW = Normalization((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
"""Normalization that leaves pixels unchanged, from 0 to 255."""


def split(count: int, seed: int) -> SplitImages:
    rng = np.random.default_rng(seed)
    return SplitImages(
        ids=[str(number) for number in range(count)],
        targets=np.arange(count) % 3,
        rows=rng.permutation(count),
        pixels=rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8),
    )


def batches(
    padding: int = 0,
    flip: bool = True,
    normalization: Normalization = RAW,
    count: int = 37,
    seed: int = 5,
    batch_size: int = 8,
) -> ImageBatches:
    splits = {"train": split(count, 0), "valid": split(11, 1), "test": split(70, 2)}
    augment = AugmentSettings(crop_padding=padding, horizontal_flip=flip)
    return ImageBatches(splits, normalization, augment, batch_size, seed, torch.device("cpu"))


def epoch(made: ImageBatches, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all images of an epoch as [n, height, width, 3], and their targets."""
    parts = list(made.train(number))
    images = torch.cat([images for images, _ in parts]).permute(0, 2, 3, 1).numpy()
    return images, torch.cat([targets for _, targets in parts]).numpy()


def test_every_image_comes_once_an_epoch_with_its_label() -> None:
    created = batches(flip=False)
    assert [len(targets) for _, targets in created.train(1)] == [8, 8, 8, 8, 5]
    assert created.steps_per_epoch() == 5
    images, targets = epoch(created, 1)
    train = created.splits["train"]
    stored = {train.pixels[row].tobytes(): train.targets[n] for n, row in enumerate(train.rows)}
    seen = {
        image.astype(np.uint8).tobytes(): target
        for image, target in zip(images, targets, strict=True)
    }
    assert seen == stored


@pytest.mark.parametrize("padding", [0, 3])
def test_an_epoch_depends_on_seed_and_number_alone(padding: int) -> None:
    """Earlier epochs and new instances change nothing; another epoch or seed does."""
    created = batches(padding)
    first = epoch(created, 2)[0]
    epoch(created, 1)
    torch.rand(3)
    np.random.rand(3)
    assert np.array_equal(epoch(created, 2)[0], first)
    assert np.array_equal(epoch(batches(padding), 2)[0], first)
    assert not np.array_equal(epoch(created, 3)[0], first)
    assert not np.array_equal(epoch(batches(padding, seed=6), 2)[0], first)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_images_equal_a_plain_reference(padding: int, seed: int) -> None:
    """Padding, cropping and flipping images one by one with NumPy gives exactly the same pixels."""
    created = batches(padding, seed=seed)
    train = created.splits["train"]
    drawn = draw_views(len(train), 1, seed, created.augment)
    images, targets = epoch(created, 1)
    for place, number in enumerate(drawn.order):
        image = train.pixels[train.rows[number]]
        padded = np.pad(image, ((padding,) * 2, (padding,) * 2, (0, 0)), mode="reflect")
        row, column = drawn.shift[place]
        image = padded[row : row + SIZE, column : column + SIZE]
        if drawn.flip[place]:
            image = image[:, ::-1]
        assert np.array_equal(images[place], image)
        assert targets[place] == train.targets[number]


def test_crops_reach_every_place_and_half_are_mirrored() -> None:
    drawn = draw_views(20_000, 1, 0, AugmentSettings(crop_padding=2))
    places, counts = np.unique(drawn.shift, axis=0, return_counts=True)
    assert len(places) == 25
    assert counts.min() > 600
    assert abs(drawn.flip.mean() - 0.5) < 0.02
    assert sorted(drawn.order) == list(range(20_000))


def test_without_augmentation_nothing_is_changed() -> None:
    drawn = draw_views(50, 1, 0, AugmentSettings(crop_padding=0, horizontal_flip=False))
    assert not drawn.flip.any()
    assert not drawn.shift.any()


def test_normalisation_is_that_of_the_architecture() -> None:
    """(pixel / 255 - mean) / std, in channels-last memory."""
    levels = torch.arange(256, dtype=torch.uint8)
    pixels = levels.reshape(1, 16, 16, 1).expand(1, 16, 16, 3).contiguous()
    got = MEAN_STD.apply(pixels)
    mean, std = (np.array(each)[:, None, None] for each in (MEAN_STD.mean, MEAN_STD.std))
    expected = (pixels.numpy().transpose(0, 3, 1, 2) / 255 - mean) / std
    assert np.abs(got.numpy() - expected).max() < 1e-6
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_held_out_images_come_in_order_and_unchanged() -> None:
    created = batches(padding=3)
    for name in ("valid", "test"):
        part = created.splits[name]
        images = torch.cat([p for p, _ in created.held_out(name)]).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(images, part.pixels[part.rows])
        assert np.array_equal(torch.cat([t for _, t in created.held_out(name)]), part.targets)


def test_mirrored_images_are_numpys() -> None:
    created = batches()
    part = created.splits["valid"]
    images = torch.cat([p for p, _ in created.in_order("valid", flip=True)])
    assert np.array_equal(images.permute(0, 2, 3, 1), part.pixels[part.rows][:, :, ::-1])


@pytest.mark.parametrize("flip", [False, True])
def test_features_take_the_place_of_their_images(flip: bool) -> None:
    """With pixels as features, both kinds of batches are equal in every epoch."""
    created = batches(flip=flip)

    def flat(mirrored: bool) -> torch.Tensor:
        return torch.cat([p.flatten(1) for p, _ in created.in_order("train", mirrored)])

    views = torch.stack([flat(mirrored) for mirrored in (False, True)[: 1 + flip]])
    valid = next(created.held_out("valid"))
    features = FeatureBatches(created, views, {"valid": valid})
    assert features.batch_sizes() == created.batch_sizes()
    for number in (1, 2):
        for mine, plain in zip(features.train(number), created.train(number), strict=True):
            assert torch.equal(mine[0], plain[0].flatten(1))
            assert torch.equal(mine[1], plain[1])
    assert torch.equal(next(features.held_out("valid"))[1], valid[1])


def test_pixels_are_read_from_disk(tmp_path: Path) -> None:
    """A memory-mapped array gives torch a writable copy."""
    part = split(9, 3)
    np.save(tmp_path / "pixels.npy", part.pixels)
    mapped = SplitImages(
        part.ids, part.targets, part.rows, np.load(tmp_path / "pixels.npy", mmap_mode="r")
    )
    got = mapped.images(np.array([4, 2]))
    assert np.array_equal(got, part.pixels[part.rows[[4, 2]]])
    assert got.flags.writeable


@pytest.mark.parametrize(("count", "size"), [(33, 16), (32, 16), (1, 16), (5, 1), (47, 16), (3, 2)])
def test_batches_cover_an_epoch_and_none_but_a_lone_image_is_alone(count: int, size: int) -> None:
    """Every index once, in order; a remainder of one image joins the batch before it."""
    parts = training_parts(count, size)
    assert [place for part in parts for place in range(part.start, part.stop)] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert all(length == size for length in sizes[:-1])
    if size > 1 and count > 1:
        assert min(sizes) > 1
