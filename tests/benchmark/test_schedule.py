"""A run's process may die in any way: the parent tells how, and goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.plan import RunSpec
from benchmark.record import Failure, RunRecord
from benchmark.runner import run_folder as files
from benchmark.runner.events import Event, StageStarted
from benchmark.runner.run_folder import RunFolder
from benchmark.runner.schedule import Policy, run_plan
from clothclf.data.dataset import DataSet
from clothclf.data.prepare import prepare
from clothclf.settings import DataSettings, DemoSettings, TrainSettings
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
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command:
                found.append(int(entry.name))
    return found


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
def test_a_killed_run_is_a_failure_with_its_stage_and_signal(data: DataSet, tmp_path: Path) -> None:
    spec = spec_on(data)
    folder = RunFolder.of(tmp_path, spec)

    class Killer(Deaf):
        def on_event(self, spec: RunSpec, event: Event) -> None:
            if isinstance(event, StageStarted) and event.stage == "cost":
                for process in processes_in(folder.path):
                    os.kill(process, signal.SIGKILL)

    (result,) = run_plan([spec], tmp_path, filler(data), [Killer()]).failed
    assert result.stage == "cost"
    assert "SIGKILL" in result.reason
    kept = folder.failure()
    assert kept is not None
    assert kept.model_copy(update={"check": ""}) == result
    assert folder.record() is None
    assert processes_in(folder.path) == []


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
    assert failure.reason.startswith("device: cuda:63 is not there")
    assert failure.log_tail.splitlines()[-1].endswith(failure.reason)
    again = run_plan(plan[:1], tmp_path, fill, [])
    assert [record.spec.seed for record in again.skipped] == [0]
    forced = run_plan(plan[:1], tmp_path, fill, [], Policy(force=True))
    (first,) = forced.finished
    assert isinstance(first, RunRecord)
    assert first.test == outcome.finished[0].test
