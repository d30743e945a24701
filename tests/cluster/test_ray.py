"""Studies on a real Ray cluster of two nodes: the same figures, nothing lost, nothing twice."""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient

from benchmark.runs.record import RunRecord
from benchmark.runs.run_folder import study_folders
from tests.benchmark.conftest import run_bench
from tests.cluster.ray_nodes import ADDRESS, BENCH, Cluster, cluster

TINY = """\
study: tiny
data: {source: demo, image_size: 32, demo: {images_per_class: 5}}
architectures: [test_resnet]
model: {weights: none, mode: finetune, head: {dropout: 0.2}}
train: {epochs: 2, learning_rate: 0.01}
seeds: [0, 1]
device: cpu
measure: false
"""
ON_RAY = ("--executor", "ray", "--address", ADDRESS)


def write_study(folder: Path, text: str = TINY) -> None:
    (folder / "study.yaml").write_text(text)


def study_arguments(*arguments: str) -> tuple[str, ...]:
    return ("run", "--all", "-c", "./study.yaml", *arguments)


def figures(root: Path, study: str = "tiny") -> dict[str, Any]:
    """All that each run measured but its times; every file is as its record says."""
    result = {}
    for folder in study_folders(root, study):
        record = folder.verified_record()
        if record is not None:
            result[record.spec.name] = (
                record.run_id,
                record.test,
                record.training.best_epoch,
                [(e.train_loss, e.valid_loss, e.valid_accuracy) for e in record.training.epochs],
                record.training.draws,
                record.backbone_sha256,
                record.files["predictions.parquet"],
                record.files["model.safetensors"],
            )
    return result


def records(root: Path, study: str = "tiny") -> list[RunRecord]:
    result = [folder.verified_record() for folder in study_folders(root, study)]
    return [record for record in result if record is not None]


def logged(root: Path, study: str = "tiny") -> list[str]:
    """The run_id of every finished run in MLflow, as often as it stands there."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`bench.kind` = 'run'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    return [run.data.tags["bench.run_id"] for run in runs]


def run_here(folder: Path, text: str = TINY) -> dict[str, Any]:
    """The study by the local executor, in a folder of its own."""
    folder.mkdir()
    write_study(folder, text)
    done = run_bench(folder, *study_arguments(), timeout_s=1800)
    assert done.code == 0, done.err
    return figures(folder / "mlruns", re.findall(r"study: (\w+)", text)[0])


class Going:
    """A running study on the cluster; its output is read as it arrives."""

    def __init__(self, made: Cluster, *arguments: str, **changes: str) -> None:
        self.process = made.begin(BENCH, *study_arguments(*ON_RAY, *arguments), **changes)
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line)
                self._heard.notify_all()

    def wait_for(self, pattern: str, seconds: float = 600) -> str:
        """The first line with a pattern."""
        end = time.monotonic() + seconds
        with self._heard:
            while time.monotonic() < end:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                assert self.process.poll() is None, self.text()
                self._heard.wait(1)
        raise AssertionError(f"no {pattern!r} in\n{self.text()}")

    def text(self) -> str:
        return "".join(self.lines)

    def end(self, seconds: float = 900) -> int:
        code = self.process.wait(seconds)
        self._thread.join(10)
        return code


def test_figures_are_those_of_this_machine_and_each_run_is_logged_once(tmp_path: Path) -> None:
    """Two nodes share two runs; one does not see the study's folder, and is sent the images."""
    with cluster(0, 1) as created:
        write_study(created.place)
        (created.place / "mlruns").mkdir()
        hidden = created.start_node(1, hide=created.place / "mlruns")
        going = Going(created)
        here = run_here(tmp_path / "here")
        assert going.end() == 0, going.text()
        root = created.place / "mlruns"
        assert figures(root) == here
        assert sorted(logged(root)) == sorted(record.run_id for record in records(root))
        nodes = set(re.findall(r"on node (\S+ \(\w+\))", going.text()))
        assert len(nodes) == 2
        assert len(list((created.place / f"node{hidden}" / "files").glob("*.npy"))) == 1
        assert not (created.place / "node1" / "files").exists()


SIX = TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4, 5]")
LONG = SIX.replace("epochs: 2", "epochs: 25")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """For tests that leave both nodes as they were."""
    with cluster(0, 2, 1) as created:
        yield created


def in_folder(made: Cluster, name: str, text: str = TINY) -> tuple[str, ...]:
    """Settings of a study with a folder of its own below the cluster's."""
    write_study(made.place, text)
    return ("--set", f"tracking.folder={name}")


@pytest.mark.slow
def test_the_demo_study_has_the_figures_of_this_machine(two_nodes: Cluster, tmp_path: Path) -> None:
    """Six runs of the demo's three architectures; figures of speed are marked where shared."""
    text = (Path(__file__).parents[2] / "configs" / "demo.yaml").read_text()
    text = text.replace("seeds: [0]", "seeds: [0, 1]\ndevice: cpu")
    text = text.replace("images_per_class: 60", "images_per_class: 10")
    text = text.replace("epochs: 24", "epochs: 3")
    folder = in_folder(two_nodes, "demo", text)
    done = two_nodes.bench(*study_arguments(*ON_RAY, *folder), check=False)
    assert done.returncode == 0, done.stderr
    root = two_nodes.place / "demo"
    assert len(records(root, "demo")) == 6
    assert sorted(logged(root, "demo")) == sorted(record.run_id for record in records(root, "demo"))
    shared = [
        bool(r.measured and "other runs could" in r.measured.busy) for r in records(root, "demo")
    ]
    assert any(shared)
    assert not all(shared)
    assert figures(root, "demo") == run_here(tmp_path / "here", text)


@pytest.mark.slow
def test_a_node_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    with cluster(0, 1, 1) as created:
        write_study(created.place, LONG)
        going = Going(created)
        going.wait_for(r"epoch [3-9]/25")
        created.kill_node(2)
        assert going.end() == 0, going.text()
        root = created.place / "mlruns"
        assert re.search(r"its node .* was lost .* retry 1 of 3", going.text())
        assert re.search(r"\d runs were restarted", going.text())
        assert sorted(record.attempts for record in records(root))[-1] == 2
        assert sorted(logged(root)) == sorted(record.run_id for record in records(root))
        assert figures(root) == run_here(tmp_path / "here", LONG)


@pytest.mark.slow
def test_a_stopped_study_keeps_its_steps_and_goes_on(two_nodes: Cluster, tmp_path: Path) -> None:
    folder = in_folder(two_nodes, "stopped", LONG)
    first = Going(two_nodes, *folder)
    first.wait_for(r"epoch [3-9]/25")
    (bench,) = psutil.Process(first.process.pid).children()
    asked = time.monotonic()
    bench.send_signal(signal.SIGINT)
    assert first.end(120) == 130, first.text()
    assert time.monotonic() - asked < 60
    second = Going(two_nodes, *folder)
    assert second.end() == 0, second.text()
    assert re.search(r"resumed after \d+ epochs", second.text())
    assert figures(two_nodes.place / "stopped") == run_here(tmp_path / "here", LONG)


@pytest.mark.slow
def test_a_node_with_other_libraries_is_refused(tmp_path: Path) -> None:
    """In one sentence with both versions, before anything runs."""
    other = tmp_path / "other" / "timm-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.0.1\n")
    with cluster(0, 1) as created:
        write_study(created.place)
        created.start_node(1, PYTHONPATH=str(other.parent))
        done = created.bench(*study_arguments(*ON_RAY), check=False)
        assert done.returncode == 2
        assert re.search(r"node 127.0.0.1 \(\w+\) has timm 0.0.1 \(this machine: \d", done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_node_that_can_keep_nothing_fails_its_runs_alone(tmp_path: Path) -> None:
    """The runs of the other node stand; --retry-failed does the rest elsewhere."""
    with cluster(0, 1) as created:
        write_study(created.place)
        (created.place / "no-folder").write_text("")
        created.start_node(1, BENCH_NODE_FOLDER=str(created.place / "no-folder"))
        done = created.bench(*study_arguments(*ON_RAY), check=False)
        assert done.returncode == 1
        assert re.search(r"failed in start: node 127.0.0.1 \(\w+\): .*no-folder", done.stderr)
        assert len(records(created.place / "mlruns")) == 1


FILL = """\
import time, numpy, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init(address="auto", log_to_driver=False)


@ray.remote(num_cpus=0)
class Filler:
    def fill(self):
        self.kept, size = [], 8 * 2**20
        while size > 2**17:
            try:
                self.kept.append(ray.put(numpy.zeros(size, numpy.uint8)))
            except Exception:
                size //= 2


on = [NodeAffinitySchedulingStrategy(n["NodeID"], soft=False) for n in ray.nodes() if n["Alive"]]
fillers = [Filler.options(scheduling_strategy=node).remote() for node in on]
ray.get([filler.fill.remote() for filler in fillers])
print("full", flush=True)
time.sleep(3600)
"""


@pytest.mark.slow
def test_a_full_object_store_is_reported_and_nothing_is_lost(tmp_path: Path) -> None:
    """Runs whose images must travel fail with one sentence; the finished one stays."""
    with cluster() as created:
        write_study(created.place, TINY.replace("image_size: 32", "image_size: 128"))
        (created.place / "mlruns").mkdir()
        spilled = created.place / "spilled"
        spilled.mkdir()
        created.run("mount", "-t", "tmpfs", "-o", "size=4m", "none", str(spilled))
        options = [f"--object-spilling-directory={spilled}"]
        created.start_node(0, options=options)
        created.start_node(1, created.place / "mlruns", options)
        first = created.bench(*study_arguments(*ON_RAY, "--seed", "0"), check=False)
        assert first.returncode == 0, first.stderr
        shutil.rmtree(created.place / "node1" / "files")
        filler = created.begin(sys.executable, "-c", FILL)
        assert filler.stdout is not None
        while "full" not in filler.stdout.readline():
            assert filler.poll() is None
        done = created.bench(*study_arguments(*ON_RAY), check=False)
        assert done.returncode == 1, done.stderr
        assert re.search(r"failed in start: .*object store .* full", done.stderr)
        assert [record.spec.seed for record in records(created.place / "mlruns")] == [0]


@pytest.mark.slow
def test_a_wrong_token_is_refused(two_nodes: Cluster) -> None:
    write_study(two_nodes.place)
    done = two_nodes.bench(*study_arguments(*ON_RAY), check=False, RAY_AUTH_TOKEN="0" * 64)
    assert done.returncode == 2
    assert "RAY_AUTH_TOKEN" in done.stderr.splitlines()[-1]


EIGHT = (
    TINY.replace("[0, 1]", "[0, 1, 2, 3, 4, 5, 6, 7]")
    .replace("epochs: 2", "epochs: 40")
    .replace("image_size: 32", "image_size: 64")
    .replace("images_per_class: 5", "images_per_class: 60")
)
"""Some 35 seconds each, in epochs of most of one: the driver's start and end, some twenty seconds,
have no second worker, and shorter epochs would measure the overhead after each epoch."""


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
def test_two_workers_take_at_most_six_tenths_of_the_time_of_one(two_nodes: Cluster) -> None:
    """Eight runs of one core each, medians of three."""
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(3):
        for workers in seconds:
            folder = in_folder(two_nodes, f"eight-{workers}-{number}", EIGHT)
            began = time.monotonic()
            asked = study_arguments(*ON_RAY, "--workers", workers, *folder)
            done = two_nodes.bench(*asked, check=False)
            seconds[workers].append(time.monotonic() - began)
            assert done.returncode == 0, done.stderr
    one, two = (statistics.median(seconds[workers]) for workers in ("1", "2"))
    print(f"one worker {one:.1f} s, two {two:.1f} s: {two / one:.2f}")
    assert two <= 0.6 * one
