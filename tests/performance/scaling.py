"""Whether time grows with pictures and epochs in a line, and memory not at all with epochs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.performance.harness import Row

PICTURES = (80, 160, 320, 640)
EPOCHS = (1, 2, 4, 8)
ARCHITECTURE = "test_resnet"


def scaling(folder: Path) -> list[Row]:
    """Fine-tuning of a small network, a fresh process for each point."""
    by_pictures = [(count, *_train(folder, count, 4)) for count in PICTURES]
    by_epochs = [(epochs, *_train(folder, 160, epochs)) for epochs in EPOCHS]
    growth = max(memory for _, _, memory in by_epochs) / by_epochs[0][2]
    return [
        _line("pictures", "picture and 4 epochs", [(x, s) for x, s, _ in by_pictures]),
        _line("epochs", "epoch of 160 pictures", [(x, s) for x, s, _ in by_epochs]),
        Row(
            f"peak memory with {EPOCHS[-1]} epochs, against {EPOCHS[0]}",
            f"{growth:.2f} times",
            "no growth",
        ),
    ]


def _line(what: str, unit: str, points: Sequence[tuple[int, float]]) -> Row:
    """Fit a straight line; its share of the variance tells how straight the points lie."""
    x, y = np.array(points, dtype=float).T
    slope, start = np.polyfit(x, y, 1)
    explained = 1 - ((y - slope * x - start) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    told = ", ".join(f"{count}: {seconds:.2f} s" for count, seconds in points)
    outcome = f"{told}; {1e3 * slope:.1f} ms for each {unit}, R² {explained:.3f}"
    return Row(f"seconds by {what}", outcome, "a line")


def _train(folder: Path, pictures: int, epochs: int) -> tuple[float, int]:
    """Seconds of training and the process's largest resident memory in bytes."""
    question = json.dumps({"folder": str(folder), "pictures": pictures, "epochs": epochs})
    command = [sys.executable, "-W", "ignore", "-m", "tests.performance.scaling", question]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, memory


def _answer(question: dict[str, str]) -> tuple[float, int]:
    from clothclf.cost.peak_memory import highest_resident_bytes
    from clothclf.training.loop import Watcher, train
    from tests.performance.side import Question, prepare_ours, recipe

    asked = Question("our finetune", ARCHITECTURE, int(question["pictures"]), question["folder"])
    classifier, images = prepare_ours(asked, frozen=False)
    train(classifier, images, recipe(1), Watcher())  # warms up
    result = train(classifier, images, recipe(int(question["epochs"])), Watcher())
    return result.seconds, highest_resident_bytes()


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
