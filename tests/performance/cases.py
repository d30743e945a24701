"""The cases: what is compared with what, on how many images, and which ratio is the target."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.runs.record import RunRecord
from clothclf.settings import Precision
from tests.performance.gpu import gpu
from tests.performance.harness import Row, compare, ratio_of, seconds_of
from tests.performance.run_inputs import WEIGHTS, ZIP
from tests.performance.scaling import scaling
from tests.performance.side import Measurement, measure_side

ROUNDS = 3
BENCH = (sys.executable, "-c", "from benchmark.cli import main; main()")


def pipeline(folder: Path) -> list[Row]:
    """Reading, changing and normalising batches, without a model; and its share of a step."""
    from clothclf.models.build import build_classifier
    from clothclf.models.weights import RANDOM
    from clothclf.settings import HeadSettings, ModelSettings
    from tests.performance import reference, run_inputs

    inputs = run_inputs.gather(folder)
    settings = ModelSettings(mode="finetune")
    classifier = build_classifier(
        "efficientnet_b0", HeadSettings(), settings, 11, run_inputs.SIZE, RANDOM, 0
    )
    images = inputs.batches(classifier)
    config = {"mean": classifier.normalization.mean, "std": classifier.normalization.std}
    count = min(8000, len(images.splits["train"])) // 16 * 16
    batches = reference.loader(inputs.files("train", count), config, shuffle=True)

    def slow() -> float:
        return seconds_of(lambda: sum(len(targets) for _, targets in batches))

    def fast() -> float:
        ours = itertools.islice(images.train(1), count // 16)
        return seconds_of(lambda: sum(len(targets) for _, targets in ours))

    ratio = compare(slow, fast, ROUNDS)
    reading_s = fast() / count
    measurement = Measurement("our finetune", "efficientnet_b0", 320, str(folder))
    share = reading_s / (measure_side(measurement) / measurement.inputs)
    return [
        Row(
            f"images/s, our batches of 16 against PIL in a loader with 2 workers, {count:,} of "
            f"{inputs.name}",
            f"{ratio} times",
            "at least 4",
        ),
        Row("reading's share of an `efficientnet_b0` step", f"{100 * share:.1f} %", "under 3 %"),
    ]


def frozen(folder: Path) -> list[Row]:
    """Ten epochs of heads on frozen backbones against the backbone run forward every epoch."""
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
            side = "reference frozen" if which == "reference" else "our frozen"
            return measure_side(Measurement(side, name, count, str(folder), p))  # type: ignore[arg-type]

        pairs = [(side("reference"), side("ours")) for _ in range(ROUNDS)]
        rows.append(
            Row(
                f"`{name}`, frozen, 10 epochs, {precision}, {count:,} training images",
                f"{ratio_of(pairs)} times as fast",
                "at least 10" if "lite0" in name else "stated",
            )
        )
    return rows


def finetune(folder: Path) -> list[Row]:
    """Epochs of fine-tuning against the reference loop and the minimal loop."""
    rows = []
    cases: list[tuple[str, int, Precision, str]] = [
        ("efficientnet_b0", 320, "float32", "at most 0.7"),
        ("densenet121", 160, "bfloat16", "at most 0.6"),
        ("vgg16", 64, "bfloat16", "at most 0.4"),
    ]
    for name, count, precision, target in cases:
        ours = Measurement("our finetune", name, count, str(folder), precision)
        reference = Measurement("reference finetune", name, count, str(folder))
        pairs = [(measure_side(ours), measure_side(reference)) for _ in range(ROUNDS)]
        what = f"`{name}`, one epoch, batch 16, {precision}"
        rows.append(Row(f"{what}, against the reference loop", f"{ratio_of(pairs)}", target))
        minimal = measure_side(Measurement("minimal finetune", name, count, str(folder), precision))
        rows.append(Row(f"{what}, against the minimal loop", f"{minimal:.3f}", "at most 1.03"))
    return rows


def harness(folder: Path) -> list[Row]:
    """What the command line costs beside the training, in seconds."""
    _tiny_study(folder)
    with _inside(folder):
        helps = [seconds_of(lambda: _bench("--help")) for _ in range(ROUNDS)]
        _bench("run", "--all", "-c", "tiny.yaml")
        again = [
            seconds_of(lambda: _bench("run", "--all", "-c", "tiny.yaml")) for _ in range(ROUNDS)
        ]
    return [
        Row("`bench --help`", f"{min(helps):.2f} s", "under 0.3 s"),
        Row("`bench run --all` that trains nothing", f"{min(again):.1f} s", "under 15 s"),
    ]


WATCHED = """
import json, sys, time
from pathlib import Path
from benchmark.engine.scheduler import Policy
from benchmark.workflows.run_study import run_study
from benchmark.config.study import load_study
from benchmark.tracking import tracker
spent = 0.0
passed_on = tracker.Tracker._try
def timed(self, call):
    global spent
    started = time.perf_counter()
    passed_on(self, call)
    spent += time.perf_counter() - started
tracker.Tracker._try = timed
code = run_study(load_study(Path("real.yaml"), sys.argv[1:]), [], Policy())
print(json.dumps(spent))
sys.exit(code)
"""
"""`bench run --all`, with what logging takes added up."""


def whole(folder: Path) -> list[Row]:
    """The frozen study on all real images with `bench run`, against the reference loop."""
    if not ZIP.is_file() or not WEIGHTS.is_dir():
        return [Row("the whole study", "the real data are not beside the project", "-")]
    name, sample = "tf_efficientnet_lite0", 1600
    rows = []
    (folder / "real.yaml").write_text(_real_study(name))
    with _inside(folder):
        _bench("data", "stats", "-c", "real.yaml")
    for precision in ("float32", "bfloat16"):
        reference_s = measure_side(Measurement("reference frozen", name, sample, str(folder)))
        command = [sys.executable, "-c", WATCHED, f"model.precision={precision}"]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        ours_s = time.perf_counter() - started
        logging_s = json.loads(done.stdout.splitlines()[-1])
        record = _records(folder)[precision]
        inputs = record.spec.data_summary.images["train"]
        reference_s *= inputs / sample
        costing_s = sum(record.stage_seconds[stage] for stage in ("cost", "measure"))
        rows += [
            Row(
                f"`bench run` of `{name}`, {precision}, {inputs:,} training images",
                f"{ours_s:.0f} s, {costing_s:.0f} s of them counting and measuring cost; "
                f"{reference_s / ours_s:.1f} times as fast as the reference loop's "
                f"{reference_s:.0f} s, "
                f"{reference_s / (ours_s - costing_s):.1f} without cost",
                "at least 10",
            ),
            Row(
                f"logging's share of that run, {precision}",
                f"{100 * logging_s / ours_s:.2f} %",
                "under 1 %",
            ),
        ]
    return rows


PLANNED = """
import json, sys, time
from pathlib import Path
from benchmark.terminal import output as terminal
from benchmark.engine.estimate import estimate
from benchmark.workflows import run_study as study_run
from benchmark.engine.probe import probe
from benchmark.engine.scheduler import Policy
from benchmark.runs.root import open_store
from benchmark.config.study import load_study
study = load_study(Path("real.yaml"), sys.argv[1:])
specs, _ = study_run.plan_study(study, [], open_store(study), terminal.make_console())
predicted = {spec.run_id: estimate(spec, probe(spec)) for spec in specs}
rows, began = [], {}
class Timed(terminal.TerminalListener):
    def on_started(self, folder, spec, resumed):
        began[spec.run_id] = time.perf_counter()
    def on_finished(self, folder, record):
        seconds = time.perf_counter() - began[record.run_id]
        estimated = predicted[record.run_id]
        memory = estimated.peak_memory_bytes, record.peak_memory_bytes
        rows.append([record.spec.architecture, estimated.seconds, seconds, *memory])
study_run.TerminalListener = Timed
code = study_run.run_study(study, [], Policy())
print(json.dumps(rows))
sys.exit(code)
"""
"""Predictions of `bench plan` for a study, and what its runs then take."""


def planning(folder: Path) -> list[Row]:
    """Predicted and actual time and memory of runs on the real images."""
    if not ZIP.is_file() or not WEIGHTS.is_dir():
        return [Row("planning", "the real data are not beside the project", "-")]
    rows = []
    (folder / "real.yaml").write_text(_real_study("tf_efficientnet_lite0"))
    finetune = ["model.mode=finetune", "model.weights=none", "train.epochs=2"]
    cases: tuple[tuple[str, list[str]], ...] = (
        ("frozen, all images, 10 epochs", []),
        (
            "fine-tuned, 3,000 images, 2 epochs",
            [*finetune, "architectures=[efficientnet_b0, densenet121]", "data.max_images=3000"],
        ),
        (
            "fine-tuned, 600 images, 2 epochs",
            [*finetune, "architectures=[vgg16]", "data.max_images=600"],
        ),
    )
    for what, assignments in cases:
        command = [sys.executable, "-c", PLANNED, *assignments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        for name, predicted_s, measured_s, predicted_bytes, measured_bytes in json.loads(
            done.stdout.splitlines()[-1]
        ):
            outcome = (
                f"{predicted_s:.0f} s predicted, {measured_s:.0f} s measured "
                f"({predicted_s / measured_s:.2f} times); "
                f"{predicted_bytes / 2**20:,.0f} MiB, {measured_bytes / 2**20:,.0f} MiB "
                f"({predicted_bytes / measured_bytes:.2f} times)"
            )
            rows.append(Row(f"`{name}`, {what}", outcome, "within 20 %"))
    return rows


def together(folder: Path) -> list[Row]:
    """Four runs one after the other with all cores, against two at a time with half of them."""
    (folder / "four.yaml").write_text(
        "study: four\n"
        "data: {source: demo}\n"
        "architectures: [efficientnet_b0]\n"
        "seeds: [0, 1, 2, 3]\n"
        "model: {weights: none, mode: finetune}\n"
        "train: {epochs: 1}\n"
        "device: cpu\n"
        "measure: false\n"
    )
    with _inside(folder):
        _bench("data", "stats", "-c", "four.yaml")

        def four(workers: int) -> float:
            command = ("run", "--all", "-c", "four.yaml", "--force", "--workers", str(workers))
            return seconds_of(lambda: _bench(*command))

        ratio = compare(lambda: four(1), lambda: four(2), ROUNDS)
    what = "four runs of `efficientnet_b0`, fine-tuned, `--workers 2` against 1"
    return [Row(what, f"{ratio} times as fast", "faster")]


def _real_study(name: str) -> str:
    return (
        "study: real\n"
        f"data: {{source: kaggle, path: {ZIP}, min_images_per_class: 900, max_classes: 11}}\n"
        f"architectures: [{name}]\n"
        f"model: {{weights: {WEIGHTS}}}\n"
        "device: cpu\n"
    )


def _records(folder: Path) -> dict[str, RunRecord]:
    """Finished runs of the real study by precision."""
    from benchmark.runs.run_folder import study_folders

    result = [run.record() for run in study_folders(folder / "mlruns", "real")]
    return {record.spec.precision: record for record in result if record is not None}


PREPARE = """
import json, sys, time
from pathlib import Path
from clothclf.cost.measure.peak_memory import highest_resident_bytes
from clothclf.data.prepare import prepare
from tests.performance.run_inputs import real_settings
started = time.perf_counter()
prepare(real_settings(), Path(sys.argv[1]))
print(json.dumps([time.perf_counter() - started, highest_resident_bytes()]))
"""


def preparing(folder: Path) -> list[Row]:
    """Reading, checking, filtering, decoding and keeping the real data, and opening it again."""
    if not ZIP.is_file():
        return [Row("preparing the real images", "they are not beside the project", "-")]

    def once() -> tuple[float, int]:
        command = [sys.executable, "-c", PREPARE, str(folder / "cache")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, memory = json.loads(done.stdout)
        return seconds, memory

    first, memory = once()
    again = min(once()[0] for _ in range(ROUNDS))
    return [
        Row("preparing the real zip, 27,283 images", f"{first:.1f} s", "at most 60 s"),
        Row("largest resident memory meanwhile", f"{memory / 2**30:.2f} GiB", "under 1.5 GiB"),
        Row("opening it again", f"{again:.2f} s", "at most 1 s"),
    ]


def reporting(folder: Path) -> list[Row]:
    """`bench report` over many copies of one real run, each with a seed of its own."""
    rows = []
    _tiny_study(folder)
    with _inside(folder):
        _bench("run", "--all", "-c", "tiny.yaml")
        for count, target in ((1_000, "under 5 s"), (10_000, "under 30 s")):
            multiply_runs(folder / "mlruns", count)
            report = ("report", "-c", "tiny.yaml", "-o", "report.md")
            seconds = seconds_of(lambda report=report: _bench(*report))  # type: ignore[misc]
            rows.append(Row(f"`bench report` over {count:,} runs", f"{seconds:.1f} s", target))
    return rows


def multiply_runs(root: Path, count: int) -> None:
    """Fill a study's store with copies of its first run, answers and all."""
    from benchmark.runs import run_folder as files
    from benchmark.runs.run_folder import RunFolder, study_folders

    first = next(study_folders(root, "tiny"))
    record = first.record()
    assert record is not None
    for seed in range(1, count):
        spec = record.spec.model_copy(update={"seed": seed})
        copy = RunFolder.of(root, spec)
        if not copy.path.exists():
            copy.start(spec)
            for name in (files.MANIFEST, files.PREDICTIONS):
                os.link(first.path / name, copy.path / name)
            values = {"spec": spec, "run_id": spec.run_id, "files": copy.hashes()}
            copy.write(files.RECORD, record.model_copy(update=values))


CASES = {
    "pipeline": pipeline,
    "prepare": preparing,
    "frozen": frozen,
    "whole": whole,
    "finetune": finetune,
    "together": together,
    "planning": planning,
    "scaling": scaling,
    "harness": harness,
    "report": reporting,
    "gpu": gpu,
}


def run(name: str) -> list[Row]:
    """Carry out one case in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return CASES[name](Path(folder))


def _tiny_study(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(
        "study: tiny\n"
        "data: {source: demo, image_size: 32, demo: {images_per_class: 10}}\n"
        "architectures: [test_resnet]\n"
        "model: {weights: none, standardize_features: true}\n"
        "train: {epochs: 1}\n"
        "device: cpu\n"
        "measure: false\n"
    )


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
