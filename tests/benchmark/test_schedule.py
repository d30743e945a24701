"""A run's process may die in any way: the parent reports how, and continues."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from benchmark.engine.scheduler import Policy, run_plan
from benchmark.engine.stopping import StopRequest
from benchmark.runs import run_folder as files
from benchmark.runs.events import EpochDone, Event, Resumed, StageStarted
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec, folder_name
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare
from clothclf.process.command import signal_name
from clothclf.settings import DataSettings, DemoSettings, ModelSettings, TrainSettings
from tests.benchmark.examples import make_spec

SETTINGS = DataSettings(image_size=32, demo=DemoSettings(images_per_class=5))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return prepare(SETTINGS, tmp_path_factory.mktemp("cache"))


def spec_on(data: DataSet, **changes: object) -> RunSpec:
    return make_spec(
        "test_resnet",
        data=SETTINGS,
        data_summary=data.summary,
        pixels=data.pixels,
        cache=data.pixels.parents[2],
        **{"train": TrainSettings(epochs=1), **changes},
    )


def processes_in(folder: Path) -> list[int]:
    """Processes whose command line names a folder."""
    result = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command:
                result.append(int(entry.name))
    return result


class Deaf:
    """A listener that does nothing."""

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None: ...
    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None: ...
    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None: ...
    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None: ...
    def on_event(self, spec: RunSpec, event: Event) -> None: ...
    def on_finished(self, folder: RunFolder, record: RunRecord) -> None: ...
    def on_failed(self, folder: RunFolder, failure: Failure) -> None: ...
    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None: ...
    def on_tick(self) -> None: ...


def filler(data: DataSet) -> Callable[[RunFolder, RunSpec], None]:
    """Writes the manifest, all that a run reads."""

    def fill(folder: RunFolder, spec: RunSpec) -> None:
        data.manifest.to_parquet(folder.path / files.MANIFEST)

    return fill


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGRTMIN + 6])
def test_a_killed_run_is_a_failure_with_its_stage_and_signal(
    number: int, data: DataSet, tmp_path: Path
) -> None:
    """Also by a signal that Python has no name for."""
    spec = spec_on(data)
    folder = RunFolder.of(tmp_path, spec)

    class Killer(Deaf):
        def on_event(self, spec: RunSpec, event: Event) -> None:
            if isinstance(event, StageStarted) and event.stage == "cost":
                for process in processes_in(folder.path):
                    os.kill(process, number)

    (result,) = run_plan([spec], tmp_path, filler(data), [Killer()]).failed
    assert result.stage == "cost"
    assert f"its process was killed by {signal_name(number)}" in result.reason
    saved = folder.failure()
    assert saved is not None
    assert saved.model_copy(update={"check": ""}) == result
    assert folder.record() is None
    assert processes_in(folder.path) == []


class Recorder(Deaf):
    """Writes down what it hears, and may do something at an epoch's end."""

    def __init__(self, on_epoch: Callable[[RunSpec, int], None] = lambda spec, epoch: None) -> None:
        self.heard: list[tuple[str, int]] = []
        self.on_epoch = on_epoch

    def on_started(self, folder: RunFolder, spec: RunSpec, resumed: bool) -> None:
        self.heard.append(("resumed" if resumed else "started", spec.seed))

    def on_failed_before(self, folder: RunFolder, failure: Failure) -> None:
        self.heard.append(("failed before", failure.spec.seed))

    def on_elsewhere(self, folder: RunFolder, spec: RunSpec) -> None:
        self.heard.append(("elsewhere", spec.seed))

    def on_skipped(self, folder: RunFolder, record: RunRecord) -> None:
        self.heard.append(("skipped", record.spec.seed))

    def on_finished(self, folder: RunFolder, record: RunRecord) -> None:
        self.heard.append(("finished", record.spec.seed))

    def on_interrupted(self, folder: RunFolder, spec: RunSpec) -> None:
        self.heard.append(("interrupted", spec.seed))

    def on_event(self, spec: RunSpec, event: Event) -> None:
        if isinstance(event, EpochDone):
            self.on_epoch(spec, event.result.epoch)
        if isinstance(event, Resumed):
            self.heard.append(("goes on", event.epochs))


LONG = {"model": ModelSettings(mode="finetune"), "train": TrainSettings(epochs=300)}


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been(
    data: DataSet, tmp_path: Path
) -> None:
    """Asked to stop in the middle, it writes a checkpoint, and no process stays."""
    spec = spec_on(data, model=ModelSettings(mode="finetune"), train=TrainSettings(epochs=12))
    (whole,) = run_plan([spec], tmp_path / "whole", filler(data), []).finished
    stop = StopRequest()

    def ask(spec: RunSpec, epoch: int) -> None:
        stop.requested = epoch >= 2

    first = Recorder(ask)
    with pytest.raises(KeyboardInterrupt):
        run_plan([spec], tmp_path, filler(data), [first], stop=stop)
    assert first.heard == [("started", 0), ("interrupted", 0)]
    folder = RunFolder.of(tmp_path, spec)
    assert processes_in(folder.path) == []
    assert folder.failure() is None
    assert folder.record() is None
    second = Recorder()
    (record,) = run_plan([spec], tmp_path, filler(data), [second]).finished
    assert second.heard[0] == ("resumed", 0)
    assert ("goes on", 2) in second.heard or ("goes on", 3) in second.heard
    assert record.test == whole.test
    losses = [[epoch.valid_loss for epoch in run.training.epochs] for run in (record, whole)]
    assert losses[0] == losses[1]
    assert not (folder.path / files.CHECKPOINTS).exists()


def test_a_run_that_takes_too_long_is_ended_and_reported(data: DataSet, tmp_path: Path) -> None:
    spec = spec_on(data, **{**LONG, "train": TrainSettings(epochs=10_000)})
    (failure,) = run_plan([spec], tmp_path, filler(data), [], Policy(timeout_s=8.0)).failed
    assert failure.reason == "it exceeded limits.timeout_s, 8 seconds"
    assert processes_in(RunFolder.of(tmp_path, spec).path) == []


def test_a_failed_run_is_tried_again_only_when_asked(data: DataSet, tmp_path: Path) -> None:
    plan = [spec_on(data, seed=0, device="cuda:63"), spec_on(data, seed=1, device="cuda:63")]
    first = run_plan(plan, tmp_path, filler(data), [], Policy(fail_fast=True))
    assert [failure.spec.seed for failure in first.failed] == [0]
    recorder = Recorder()
    again = run_plan(plan[:1], tmp_path, filler(data), [recorder])
    assert recorder.heard == [("failed before", 0)]
    assert again.failed_before[0].reason == first.failed[0].reason
    retried = run_plan(plan[:1], tmp_path, filler(data), [], Policy(retry_failed=True))
    assert len(retried.failed) == 1


def test_several_runs_at_a_time_give_the_same_and_are_measured_alone(
    data: DataSet, tmp_path: Path
) -> None:
    """Measuring waits until nothing else computes, and repeats nothing of the training."""
    plan = [spec_on(data, seed=seed, measure=True) for seed in (0, 1)]
    recorder = Recorder()
    outcome = run_plan(plan, tmp_path, filler(data), [recorder], Policy(workers=2))
    assert sorted(record.spec.seed for record in outcome.finished) == [0, 1]
    assert [word for word, _ in recorder.heard] == [
        "started", "started", "resumed", "finished", "resumed", "finished",
    ]  # fmt: skip
    assert all(record.measured is not None for record in outcome.finished)
    (alone,) = run_plan(plan[:1], tmp_path / "alone", filler(data), []).finished
    (same,) = [record for record in outcome.finished if record.spec.seed == 0]
    assert same.test == alone.test


def test_a_run_that_another_process_has_is_left_to_it(data: DataSet, tmp_path: Path) -> None:
    """It is looked at again at the end, and taken over if it is still not done."""
    plan = [spec_on(data, seed=0), spec_on(data, seed=1)]
    place = tmp_path / "runs" / "s" / ".locks"
    place.mkdir(parents=True)
    other = filelock.FileLock(place / f"{folder_name(plan[0])}.lock")
    other.acquire()
    recorder = Recorder(lambda spec, epoch: other.release())
    run_plan(plan, tmp_path, filler(data), [recorder])
    assert [word for word in recorder.heard if word[0] != "goes on"] == [
        ("elsewhere", 0), ("started", 1), ("finished", 1), ("started", 0), ("finished", 0),
    ]  # fmt: skip


def test_one_failed_run_leaves_the_others_alone(data: DataSet, tmp_path: Path) -> None:
    """Of three runs the middle one asks for a device that is not there."""
    plan = [
        spec_on(data, seed=0),
        spec_on(data, seed=1, device="cuda:63"),
        spec_on(data, seed=2),
    ]

    fill = filler(data)
    outcome = run_plan(plan, tmp_path, fill, [])
    assert [record.spec.seed for record in outcome.finished] == [0, 2]
    (failure,) = outcome.failed
    assert failure.reason.startswith("device: cuda:63 is not available")
    assert failure.log_tail.splitlines()[-1].endswith(failure.reason)
    again = run_plan(plan[:1], tmp_path, fill, [])
    assert [record.spec.seed for record in again.skipped] == [0]
    forced = run_plan(plan[:1], tmp_path, fill, [], Policy(force=True))
    (first,) = forced.finished
    assert isinstance(first, RunRecord)
    assert first.test == outcome.finished[0].test


def test_when_the_time_is_up_what_runs_is_stopped_and_can_go_on(
    data: DataSet, tmp_path: Path
) -> None:
    """It is not a failure, and not reported as an interruption by the user."""
    recorder = Recorder()
    plan = [spec_on(data, seed=seed, train=TrainSettings(epochs=20)) for seed in (0, 1)]
    until = time.monotonic() + 0.3
    outcome = run_plan(plan[:1], tmp_path, filler(data), [recorder], Policy(until=until))
    assert not outcome.finished
    assert not outcome.failed
    assert recorder.heard[-1][0] == "interrupted"
    late = Policy(until=until, finish_one=True)
    (record,) = run_plan(plan, tmp_path, filler(data), [], late).finished
    assert record.spec.seed == 0
