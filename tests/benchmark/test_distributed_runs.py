"""One run over several processes: killed, stopped and gone on with, it ends as any run does."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmark.engine.distributed.launch_ranks import reason
from benchmark.engine.executors.base import Resources
from benchmark.engine.executors.local import check_resources
from benchmark.engine.scheduler import Policy, StudyOutcome, run_plan
from benchmark.engine.stopping import StopRequest
from benchmark.runs import run_folder as files
from benchmark.runs.events import EpochDone, Event, Note, Progress
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare
from clothclf.errors import DeviceError, SettingsError
from clothclf.settings import ModelSettings, TrainSettings
from tests.benchmark.test_schedule import SETTINGS, Deaf, filler, needs_proc, processes_in, spec_on

TWO = Policy(retry_failed=True, processes_per_run=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread_each() -> Iterator[None]:
    """More threads make tiny networks no faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return prepare(SETTINGS, tmp_path_factory.mktemp("cache"))


def spec_of(data: DataSet) -> RunSpec:
    """Two epochs of a network with batch norms, in batches that two cannot cut evenly."""
    # Slow enough that what rounding changes does not grow from step to step.
    train = TrainSettings(epochs=2, batch_size=11, learning_rate=1e-4)
    model = ModelSettings(mode="finetune")
    return spec_on(data, model=model, train=train, count=False, measure=False)


class Hand(Deaf):
    """Does something once, when a step is reported or an epoch is done."""

    def __init__(self, act: Callable[[], None], after_epoch: int | None = None) -> None:
        self.act = act
        self.after_epoch = after_epoch
        self.done = False
        self.notes: list[str] = []

    def on_event(self, spec: RunSpec, event: Event) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)
        if self.after_epoch is None:
            due = isinstance(event, Progress) and event.doing.startswith("epoch")
        else:
            due = isinstance(event, EpochDone) and event.result.epoch == self.after_epoch
        if due and not self.done:
            self.done = True
            self.act()


@dataclass
class Story:
    """What became of a run that was killed, stopped, and carried to its end."""

    failed: StudyOutcome
    left_after_kill: list[int]
    listening: list[str]
    stopped: bool
    left_after_stop: list[int]
    checkpoint: bool
    finished: StudyOutcome
    meetings: list[Path] = field(default_factory=list)


@pytest.fixture(scope="module")
def story(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Story:
    root, temporary = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("temporary")
    spec = spec_of(data)
    folder = RunFolder.of(root, spec)
    listening: list[str] = []

    def kill_the_second() -> None:
        ranks = {rank_of(process): process for process in processes_in(folder.path)}
        listening.extend(listening_sockets(ranks.values()))
        os.kill(ranks["1"], signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(temporary))
        failed = run_plan([spec], root, filler(data), [Hand(kill_the_second)], TWO)
        left_after_kill = processes_in(folder.path)
        stop = StopRequest()
        hand = Hand(lambda: setattr(stop, "requested", True), after_epoch=1)
        try:
            run_plan([spec], root, filler(data), [hand], TWO, stop)
            stopped = False
        except KeyboardInterrupt:
            stopped = True
        left_after_stop = processes_in(folder.path)
        checkpoint = (folder.path / files.CHECKPOINTS / "checkpoint.json").is_file()
        finished = run_plan([spec], root, filler(data), [Deaf()], TWO)
    return Story(
        failed,
        left_after_kill,
        listening,
        stopped,
        left_after_stop,
        checkpoint,
        finished,
        list(temporary.iterdir()),
    )


def rank_of(process: int) -> str:
    """What torchrun numbers a process; empty for its agent."""
    lines = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next((line[5:].decode() for line in lines if line.startswith(b"RANK=")), "")


def listening_sockets(processes: object) -> list[str]:
    """Addresses, as the system writes them, on which processes wait for connections."""
    inodes = set()
    for process in processes:  # type: ignore[attr-defined]
        for link in Path(f"/proc/{process}/fd").iterdir():
            target = os.readlink(link)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    result = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                result.append(columns[1].partition(":")[0])
    return result


@needs_proc
def test_a_killed_process_is_a_failure_with_its_number_stage_and_signal(story: Story) -> None:
    (failure,) = story.failed.failed
    assert failure.stage == "train"
    assert failure.reason.startswith("process 2 of 2 was killed by SIGKILL")


@needs_proc
def test_no_process_outlives_its_run(story: Story) -> None:
    assert story.left_after_kill == story.left_after_stop == []
    assert story.meetings == []


@needs_proc
def test_the_processes_can_be_reached_from_this_machine_alone(story: Story) -> None:
    here = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}"
    assert story.listening
    assert set(story.listening) == {here}


@needs_proc
def test_all_processes_stop_at_one_step_and_keep_it(story: Story) -> None:
    assert story.stopped
    assert story.checkpoint


@needs_proc
def test_it_ends_with_the_figures_of_one_process(
    story: Story, data: DataSet, tmp_path: Path
) -> None:
    """After all that happened to it, by the same run_id."""
    (together,) = story.finished.finished
    (alone,) = run_plan([spec_of(data)], tmp_path, filler(data), [Deaf()]).finished
    assert together.run_id == alone.run_id
    for one, other in zip(together.training.epochs, alone.training.epochs, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert one.valid_loss == pytest.approx(other.valid_loss, rel=1e-5)
        assert one.valid_accuracy == other.valid_accuracy
    assert together.test.metrics["loss"] == pytest.approx(alone.test.metrics["loss"], rel=1e-5)
    assert (together.environment.processes, alone.environment.processes) == (2, 1)
    assert sorted(together.files) == sorted(alone.files)


@pytest.mark.slow
def test_a_frozen_backbone_leaves_its_head_to_one_process(data: DataSet, tmp_path: Path) -> None:
    spec = spec_on(data, count=False, measure=False)
    hand = Hand(lambda: None)
    (record,) = run_plan([spec], tmp_path, filler(data), [hand], TWO).finished
    assert isinstance(record, RunRecord)
    assert record.environment.processes == 1
    assert any("one process trains" in note for note in hand.notes)


FAULTY = """\
import os
import timm

def network(num_classes, img_size):
    made = timm.create_model("test_resnet", num_classes=num_classes)
    if os.environ.get("RANK") == "1":
        made.layer1.register_forward_pre_hook(fail)
    return made

def fail(module, inputs):
    if module.training:
        raise ValueError("a fault of this process alone")
"""


@pytest.mark.slow
def test_a_fault_of_one_process_is_reported_with_its_number(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_network.py").write_text(FAULTY)
    monkeypatch.chdir(tmp_path)
    spec = spec_of(data).model_copy(update={"architecture": "faulty_network:network"})
    (failure,) = run_plan([spec], tmp_path, filler(data), [Deaf()], TWO).failed
    assert isinstance(failure, Failure)
    assert failure.reason == "process 2 of 2: a fault of this process alone"


def test_what_killed_a_process_is_reported_before_what_others_died_of() -> None:
    assert reason({0: 1, 2: -9}, 4).startswith("process 3 of 4 was killed by SIGKILL")
    assert reason({0: -15, 2: -9}, 4).startswith("process 3 of 4 was killed by SIGKILL")
    assert reason({0: -15, 1: 1, 3: 1}, 4) == "process 2 of 4 ended with code 1 without a record"


def test_gpus_that_are_not_there_are_reported_in_one_sentence() -> None:
    with pytest.raises(DeviceError, match=r"--gpus-per-run 2: GPUs found for device: cpu: 0;"):
        check_resources(Resources(gpus_per_run=2), "cpu")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"gpus_per_run": 0.5}, "fractions of a GPU require --executor ray"),
        ({"gpus_per_run": 2, "processes_per_run": 3}, "remove --processes-per-run 3"),
        ({"processes_per_run": 2, "workers": 2}, "remove --workers"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, int], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        check_resources(Resources(**asked), "cpu")


@pytest.mark.parametrize("device", ["mps", "cuda:1"])
def test_a_device_that_cannot_be_shared_is_refused(device: str) -> None:
    with pytest.raises(DeviceError, match=f"device: {device} "):
        check_resources(Resources(processes_per_run=2), device)


def test_a_cpu_is_shared_by_as_many_as_are_asked_for() -> None:
    assert check_resources(Resources(processes_per_run=3), "cpu") == 3
    assert check_resources(Resources(), "cpu") == 1
