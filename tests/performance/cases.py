"""The cases: what is compared with what, on how many pictures, and which ratio is wanted."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clothclf.settings import Precision
from tests.performance.harness import Row, compare, ratio_of, seconds_of
from tests.performance.side import Question, ask

ROUNDS = 3
BENCH = (sys.executable, "-c", "from benchmark.cli import main; main()")


def pipeline(folder: Path) -> list[Row]:
    """Reading, changing and normalising batches, without a model; and its share of a step."""
    from clothclf.models.build import build_classifier
    from clothclf.models.weights import RANDOM
    from clothclf.settings import HeadSettings, ModelSettings
    from tests.performance import material, plain

    pictures = material.gather(folder)
    settings = ModelSettings(mode="finetune")
    classifier = build_classifier(
        "efficientnet_b0", HeadSettings(), settings, 11, material.SIZE, RANDOM, 0
    )
    images = pictures.batches(classifier)
    config = {"mean": classifier.normalization.mean, "std": classifier.normalization.std}
    count = min(8000, len(images.splits["train"])) // 16 * 16
    batches = plain.loader(pictures.files("train", count), config, shuffle=True)

    def slow() -> float:
        return seconds_of(lambda: sum(len(targets) for _, targets in batches))

    def fast() -> float:
        ours = itertools.islice(images.train(1), count // 16)
        return seconds_of(lambda: sum(len(targets) for _, targets in ours))

    ratio = compare(slow, fast, ROUNDS)
    reading_s = fast() / count
    question = Question("our finetune", "efficientnet_b0", 320, str(folder))
    share = reading_s / (ask(question) / question.pictures)
    return [
        Row(
            f"images/s, our batches of 16 against PIL in a loader with 2 workers, {count:,} of "
            f"{pictures.name}",
            f"{ratio} times",
            "at least 4",
        ),
        Row("reading's share of an `efficientnet_b0` step", f"{100 * share:.1f} %", "under 3 %"),
    ]


def frozen(folder: Path) -> list[Row]:
    """Ten epochs of heads on frozen bodies against the body run forward every epoch."""
    rows = []
    cases: list[tuple[str, int, Precision]] = [
        ("tf_efficientnet_lite0", 1600, "bfloat16"),
        ("tf_efficientnet_lite0", 1600, "float32"),
        ("densenet121", 480, "bfloat16"),
        ("vgg16", 160, "bfloat16"),
    ]
    for name, count, precision in cases:

        def side(
            which: str, name: str = name, count: int = count, p: Precision = precision
        ) -> float:
            side = "plain frozen" if which == "plain" else "our frozen"
            return ask(Question(side, name, count, str(folder), p))  # type: ignore[arg-type]

        pairs = [(side("plain"), side("ours")) for _ in range(ROUNDS)]
        rows.append(
            Row(
                f"`{name}`, frozen, 10 epochs, {precision}, {count:,} training pictures",
                f"{ratio_of(pairs)} times as fast",
                "at least 10" if "lite0" in name else "stated",
            )
        )
    return rows


def finetune(folder: Path) -> list[Row]:
    """Epochs of fine-tuning against the plain loop and against a bare one."""
    rows = []
    cases: list[tuple[str, int, Precision, str]] = [
        ("efficientnet_b0", 320, "float32", "at most 0.7"),
        ("densenet121", 160, "bfloat16", "at most 0.6"),
        ("vgg16", 64, "bfloat16", "at most 0.4"),
    ]
    for name, count, precision, wanted in cases:
        ours = Question("our finetune", name, count, str(folder), precision)
        plain = Question("plain finetune", name, count, str(folder))
        pairs = [(ask(ours), ask(plain)) for _ in range(ROUNDS)]
        what = f"`{name}`, one epoch, batch 16, {precision}"
        rows.append(Row(f"{what}, against the plain loop", f"{ratio_of(pairs)}", wanted))
        bare = ask(Question("bare finetune", name, count, str(folder), precision))
        rows.append(Row(f"{what}, against a bare loop", f"{bare:.3f}", "at most 1.03"))
    return rows


def harness(folder: Path) -> list[Row]:
    """What the command line costs beside the training, in seconds."""
    (folder / "tiny.yaml").write_text(
        "study: tiny\n"
        "data: {source: demo, image_size: 32, demo: {images_per_class: 10}}\n"
        "architectures: [test_resnet]\n"
        "model: {weights: none, standardize_features: true}\n"
        "train: {epochs: 1}\n"
        "device: cpu\n"
        "measure: false\n"
    )
    with _inside(folder):
        helps = [seconds_of(lambda: _bench("run", "--help")) for _ in range(ROUNDS)]
        _bench("run", "--all", "-c", "tiny.yaml")
        again = [
            seconds_of(lambda: _bench("run", "--all", "-c", "tiny.yaml")) for _ in range(ROUNDS)
        ]
    return [
        Row("`bench run --help`", f"{min(helps):.2f} s", "under 0.3 s"),
        Row("`bench run --all` that trains nothing", f"{min(again):.1f} s", "under 15 s"),
    ]


CASES = {"pipeline": pipeline, "frozen": frozen, "finetune": finetune, "harness": harness}


def run(name: str) -> list[Row]:
    """Carry out one case in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return CASES[name](Path(folder))


def _bench(*arguments: str) -> None:
    subprocess.run([*BENCH, *arguments], check=True, capture_output=True)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
