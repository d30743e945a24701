"""Resume gives the same results; damaged checkpoints are ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clothclf.errors import TrainingStopped
from clothclf.models.load_weights import state_hash
from clothclf.settings import HeadSettings
from clothclf.training.loop import Watcher, train
from tests.clothclf.training.test_loop import build, feed, numbers, recipe

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 5
"""Of an epoch; the recipe has three."""
Figures = tuple[list[tuple[float, ...]], str]


def go(folder: Path, mode: str, stop_after: int | None = None) -> Figures | None:
    """Train or resume; returns None if it was stopped after a number of steps."""
    steps = 0

    def on_step(epoch: int, step: int, of: int) -> None:
        nonlocal steps
        steps += 1

    torch.rand(3)  # the global generator is somewhere else in each process
    options = {"standardize_features": True} if mode == "frozen" else {}
    classifier = build(HeadSettings(hidden=4, dropout=0.3), mode=mode, **options)
    watcher = Watcher(on_step=on_step, should_stop=lambda: steps == stop_after)
    settings = recipe(schedule="cosine")
    try:
        result = train(classifier, feed(classifier), settings, watcher, checkpoints=folder)
    except TrainingStopped:
        return None
    return numbers(result), state_hash(classifier)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
@pytest.mark.parametrize("stop_after", [1, STEPS - 1, STEPS, STEPS + 2, 3 * STEPS - 1])
def test_a_stopped_training_ends_as_if_it_had_not_been(
    mode: str, stop_after: int, tmp_path: Path
) -> None:
    """Bit-identical, with dropout, momentum and a schedule."""
    (tmp_path / "none").mkdir()
    expected = go(tmp_path / "none", mode)
    assert go(tmp_path, mode, stop_after) is None
    assert go(tmp_path, mode) == expected


def test_stopped_at_every_step_it_still_ends_the_same(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    expected = go(tmp_path / "none", "finetune")
    stops = 0
    while (found := go(tmp_path, "finetune", 1)) is None:
        stops += 1
    assert stops == 3 * STEPS
    assert found == expected


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = go(tmp_path, "finetune")
    assert go(tmp_path, "finetune", stop_after=1) == first


def test_what_was_done_before_is_told_first(tmp_path: Path) -> None:
    go(tmp_path, "finetune", STEPS + 2)
    told: list[object] = []
    classifier = build(HeadSettings(hidden=4, dropout=0.3), mode="finetune")
    watcher = Watcher(
        on_epoch=lambda result: told.append(result.epoch),
        on_resumed=lambda done, steps: told.append(([result.epoch for result in done], steps)),
    )
    train(classifier, feed(classifier), recipe(schedule="cosine"), watcher, checkpoints=tmp_path)
    assert told == [([1], 2), 2, 3]


@pytest.mark.parametrize("name", ["checkpoint.json", "*.pt"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half", "noise", "one bit"])
def test_a_damaged_checkpoint_starts_from_the_beginning(
    name: str, damage: str, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    expected = go(tmp_path / "none", "finetune")
    go(tmp_path, "finetune", STEPS + 2)
    (file,) = tmp_path.glob(name)
    content = file.read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "half": content[:middle],
        "noise": bytes(torch.randint(0, 256, (len(content),), dtype=torch.uint8).tolist()),
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    file.unlink() if damage == "gone" else file.write_bytes(damaged[damage])
    assert go(tmp_path, "finetune") == expected


def test_the_last_checkpoint_alone_stays(tmp_path: Path) -> None:
    go(tmp_path, "finetune")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-4-0.pt",
        "checkpoint.json",
    ]
