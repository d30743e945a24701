"""Whether time grows with images, epochs and runs in a line, and memory not with the last two."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.performance.harness import Row

IMAGES = (80, 160, 320, 640)
EPOCHS = (1, 2, 4, 8)
RUNS = (1, 2, 4, 8)
ARCHITECTURE = "test_resnet"


def scaling(folder: Path) -> list[Row]:
    """Fine-tuning of a small network, and studies of it; a fresh process for each point."""
    by_pictures = [(count, *_train(folder, count, 4)) for count in IMAGES]
    by_epochs = [(epochs, *_train(folder, 160, epochs)) for epochs in EPOCHS]
    by_runs = [(runs, *_study(folder / f"{runs}-runs", runs)) for runs in RUNS]
    return [
        _line("pictures", "image and 4 epochs", [(x, s) for x, s, _ in by_pictures]),
        _line("epochs", "epoch of 160 images", [(x, s) for x, s, _ in by_epochs]),
        _line("runs, each an architecture and a seed", "run", [(x, s) for x, s, _ in by_runs]),
        _growth("peak memory", "epochs", [(x, memory) for x, _, memory in by_epochs]),
        _growth("peak memory of `bench run`", "runs", [(x, memory) for x, _, memory in by_runs]),
    ]


def _growth(what: str, of: str, points: Sequence[tuple[int, int]]) -> Row:
    (least, first), (most, last) = points[0], points[-1]
    return Row(
        f"{what} with {most} {of}, against {least}", f"{last / first:.2f} times", "no growth"
    )


def _line(what: str, unit: str, points: Sequence[tuple[int, float]]) -> Row:
    """Fit a straight line; its share of the variance tells how straight the points lie."""
    x, y = np.array(points, dtype=float).T
    slope, start = np.polyfit(x, y, 1)
    explained = 1 - ((y - slope * x - start) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    times = ", ".join(f"{count}: {seconds:.2f} s" for count, seconds in points)
    outcome = f"{times}; {1e3 * slope:.1f} ms for each {unit}, R² {explained:.3f}"
    return Row(f"seconds by {what}", outcome, "a line")


def _train(folder: Path, images: int, epochs: int) -> tuple[float, int]:
    """Seconds of training and the process's largest resident memory in bytes."""
    measurement = json.dumps({"folder": str(folder), "pictures": images, "epochs": epochs})
    command = [sys.executable, "-W", "ignore", "-m", "tests.performance.scaling", measurement]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, memory


STUDY = """
import json, sys
from benchmark.engine.scheduler import Policy
from benchmark.workflows.run_study import run_study
from benchmark.config.study import load_study
from clothclf.cost.measure.peak_memory import highest_resident_bytes
from pathlib import Path
assert run_study(load_study(Path("study.yaml")), [], Policy()) == 0
print(json.dumps(highest_resident_bytes()))
"""


def _study(folder: Path, runs: int) -> tuple[float, int]:
    """Seconds of a whole study, and the largest resident memory of its parent process in bytes."""
    folder.mkdir()
    (folder / "study.yaml").write_text(
        "study: scaling\n"
        "data: {source: demo, image_size: 32, demo: {images_per_class: 10}}\n"
        f"architectures: [{ARCHITECTURE}]\n"
        f"seeds: {list(range(runs))}\n"
        "model: {weights: none, mode: finetune}\n"
        "train: {epochs: 2}\n"
        "device: cpu\n"
        "measure: false\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", STUDY], cwd=folder, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, json.loads(done.stdout.splitlines()[-1])


def _answer(measurement: dict[str, str]) -> tuple[float, int]:
    from clothclf.cost.measure.peak_memory import highest_resident_bytes
    from clothclf.training.loop import Watcher, train
    from tests.performance.side import Measurement, prepare_ours, recipe

    asked = Measurement(
        "our finetune", ARCHITECTURE, int(measurement["pictures"]), measurement["folder"]
    )
    classifier, images = prepare_ours(asked, frozen=False)
    train(classifier, images, recipe(1), Watcher())  # warms up
    result = train(classifier, images, recipe(int(measurement["epochs"])), Watcher())
    return result.seconds, highest_resident_bytes()


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
