"""Distillation: soft labels, their effect, and resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clothclf.data.batches import Normalization
from clothclf.errors import TrainingStopped
from clothclf.models.build import build_classifier
from clothclf.models.classifier import Classifier
from clothclf.models.load_weights import state_hash
from clothclf.models.weights import RANDOM
from clothclf.settings import HeadSettings, ModelSettings
from clothclf.training.loop import Watcher, train
from clothclf.training.teacher import Teacher
from tests.clothclf.training.test_loop import BODY, CPU, SIZE, build, feed, numbers, recipe

pytestmark = pytest.mark.usefixtures("one_thread")
PUPILS = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def another(seed: int, size: int = SIZE) -> Classifier:
    model = ModelSettings.model_validate({"weights": "none", "mode": "finetune"})
    return build_classifier(BODY, HeadSettings(), model, 3, size, RANDOM, seed).eval()


def some_pixels(count: int = 70) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, SIZE, SIZE, 3), generator=drawn, dtype=torch.uint8)


def test_a_target_is_the_label_and_the_mean_of_answers_in_their_shares() -> None:
    """Uses more images than a teacher's batch, and the teacher's own normalization."""
    networks = [another(1), another(2)]
    assert networks[0].normalization != PUPILS
    pixels, labels = some_pixels(), torch.arange(70) % 3
    teacher = Teacher([(network, SIZE) for network in networks], 0.7, PUPILS, CPU)
    found = teacher.targets(PUPILS.apply(pixels), labels)
    with torch.no_grad():
        answers = [network(network.normalization.apply(pixels)).softmax(1) for network in networks]
    expected = 0.3 * torch.eye(3)[labels] + 0.7 * (answers[0] + answers[1]) / 2
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(answers[0], answers[1], atol=1e-3)


def test_a_mixed_target_keeps_its_shares() -> None:
    network = another(1)
    mixed = torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.5, 0.5]])
    images = PUPILS.apply(some_pixels(2))
    half = Teacher([(network, SIZE)], 0.5, PUPILS, CPU).targets(images, mixed)
    whole = Teacher([(network, SIZE)], 1.0, PUPILS, CPU).targets(images, mixed)
    assert torch.allclose(half, (mixed + whole) / 2, atol=1e-6)


def test_a_teacher_sees_images_of_its_own_size() -> None:
    network, seen = another(1, 48), []
    network.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    shares = Teacher([(network, 48)], 1.0, PUPILS, CPU).targets(
        PUPILS.apply(some_pixels(4)), torch.zeros(4, dtype=torch.int64)
    )
    assert seen == [(4, 3, 48, 48)]
    assert torch.allclose(shares.sum(1), torch.ones(4))


def test_normalisation_is_undone() -> None:
    pixels = some_pixels(3)
    assert torch.allclose(PUPILS.undo(PUPILS.apply(pixels)), pixels.float(), atol=1e-3)


def test_a_pupil_of_the_answers_alone_comes_to_its_teacher() -> None:
    """With a label weight of 0, wrong labels are ignored and the student matches its teacher."""
    right = build(mode="finetune")
    train(right, feed(right), recipe(epochs=6), Watcher())
    student = build(mode="finetune")
    images = feed(student)
    images.splits = {
        name: part
        if name != "train"
        else part.__class__(part.ids, (part.targets + 1) % 3, part.rows, part.pixels)
        for name, part in images.splits.items()
    }
    teacher = Teacher([(right, SIZE)], 1.0, student.normalization, CPU)
    taught = train(student, images, recipe(epochs=6), Watcher(), teacher=teacher)
    misled = build(mode="finetune")
    alone = train(misled, images, recipe(epochs=6), Watcher())
    assert taught.best.valid_accuracy > 0.8  # of 15 images, whose number differs with the processor
    assert alone.epochs[-1].valid_accuracy < 0.1


@pytest.mark.parametrize("stop_after", [3, 8])
def test_a_stopped_training_ends_as_if_it_had_not_been(stop_after: int, tmp_path: Path) -> None:
    """Bit-identical, also with mixed images and a reloaded teacher."""

    def go(folder: Path, stop_after: int | None = None) -> tuple[object, str]:
        steps = 0

        def on_step(epoch: int, step: int, of: int) -> None:
            nonlocal steps
            steps += 1

        student = build(HeadSettings(dropout=0.3), mode="finetune")
        images = feed(student, mixup=0.2)
        teacher = Teacher([(another(1), SIZE)], 0.7, student.normalization, CPU)
        watcher = Watcher(on_step=on_step, should_stop=lambda: steps == stop_after)
        settings = recipe(epochs=2, augment={"mixup": 0.2})
        result = train(student, images, settings, watcher, checkpoints=folder, teacher=teacher)
        return numbers(result), state_hash(student)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = go(whole)
    with pytest.raises(TrainingStopped):
        go(parts, stop_after)
    assert go(parts) == expected
