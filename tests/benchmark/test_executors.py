"""Where runs go: memory and GPUs on one machine; what can be said of a cluster without one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.engine.executors import local as local_executor
from benchmark.engine.executors.base import Resources, RunAtWork
from benchmark.engine.executors.local import LocalExecutor
from benchmark.engine.executors.memory_needs import MemoryNeeds
from benchmark.engine.executors.ray import executor as ray_executor
from benchmark.engine.executors.ray import versions
from benchmark.engine.executors.ray.bundle import (
    Chunk,
    Ended,
    FileRefs,
    Message,
    Started,
    read_chunk,
    received_path,
)
from benchmark.engine.executors.ray.cluster import capacity, check_reachable
from benchmark.engine.executors.ray.ray_run import RayRun, Task
from benchmark.engine.executors.registry import EXECUTORS, ExecutorEntry, any_of
from benchmark.engine.process import Limits, RunProcess
from benchmark.engine.scheduler import Policy, run_plan
from benchmark.errors import ClusterError
from benchmark.runs.events import FREE_WORKER, Event, Note
from benchmark.runs.record import Failure
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from clothclf.errors import SettingsError
from tests.benchmark.conftest import free_port
from tests.benchmark.examples import make_spec

GIB = 2**30


def known(needs: MemoryNeeds, *names: str) -> MemoryNeeds:
    """Needs that have been found out for some architectures."""
    end = time.monotonic() + 10
    while any(needs.of(make_spec(name)) is None for name in names):
        assert time.monotonic() < end
        time.sleep(0.01)
    return needs


def start(executor: LocalExecutor, folder: Path, name: str, device: str = "cpu") -> RunProcess:
    """A run's process, ended at once: only what the executor makes of it is looked at."""
    folder.mkdir(exist_ok=True)
    run = executor.start(make_spec(name, device=device), RunFolder(folder), True)
    run.end()
    return run


def test_errors_name_every_executor_that_has_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the registry, so that a new executor needs no change of another one."""
    with pytest.raises(SettingsError, match=r"require --executor ray$"):
        local_executor.check_resources(Resources(cpus_per_run=2), "cpu")
    queue = ExecutorEntry("queue", "queue", "a queue", "Folder of the queue")
    monkeypatch.setitem(EXECUTORS, queue.name, queue)
    with pytest.raises(SettingsError, match=r"require --executor ray or queue$"):
        local_executor.check_resources(Resources(address="queue"), "cpu")
    with pytest.raises(SettingsError, match="of a GPU require --executor ray;"):
        local_executor.check_resources(Resources(gpus_per_run=0.5), "cpu")


def test_alternatives_are_joined_as_in_a_sentence() -> None:
    joined = [any_of(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])]
    assert joined == ["a", "a or b", "a, b or c"]


def test_a_run_waits_until_memory_has_room(tmp_path: Path) -> None:
    sizes = {"large": 3 * GIB, "small": GIB}
    needs = known(MemoryNeeds(lambda spec: sizes[spec.architecture]), *sizes)
    executor = LocalExecutor(Limits(), 4, needs, 4 * GIB)
    large = start(executor, tmp_path, "large")
    assert not executor.waits_for(make_spec("small"), 1)
    small = start(executor, tmp_path, "small")
    why = executor.waits_for(make_spec("small"), 2)
    assert why == "1,024 MiB of memory, 0 free"
    assert executor.waits_for(make_spec("small"), 4) == FREE_WORKER
    executor.ended(large)
    assert not executor.waits_for(make_spec("large"), 1)
    executor.ended(small)


def test_a_run_larger_than_all_memory_runs_alone(tmp_path: Path) -> None:
    needs = known(MemoryNeeds(lambda spec: 9 * GIB), "vgg16")
    executor = LocalExecutor(Limits(), 2, needs, 4 * GIB)
    assert not executor.waits_for(make_spec("vgg16"), 0)
    start(executor, tmp_path, "vgg16")
    assert executor.waits_for(make_spec("vgg16"), 1)


def test_nothing_is_started_beside_a_run_whose_memory_is_not_known(tmp_path: Path) -> None:
    executor = LocalExecutor(Limits(), 2, MemoryNeeds(lambda spec: time.sleep(3600) or 0), GIB)
    start(executor, tmp_path, "vgg16")
    assert "estimate of memory" in executor.waits_for(make_spec("vgg16"), 1)


def test_each_run_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    """The one that a run leaves is the next one's; with too few, the least used is shared."""
    executor = LocalExecutor(Limits(), 3, gpus=("0", "1"))
    first, second, third = (start(executor, tmp_path, "vgg16", "cuda") for _ in range(3))
    given = [run.limits.visible_gpus for run in (first, second, third)]
    assert given == ["0", "1", "0"]
    executor.ended(second)
    assert start(executor, tmp_path, "vgg16", "auto").limits.visible_gpus == "1"
    assert start(executor, tmp_path, "vgg16", "cuda:1").limits.visible_gpus is None


def test_an_address_where_nothing_answers_is_reported_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(ClusterError, match=f"--address {address}: no Ray cluster responds"):
        check_reachable(Resources(address=address))
    assert time.monotonic() - began < 10


def test_a_cluster_is_not_joined_without_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ClusterError, match="no token for this cluster"):
        check_reachable(Resources(address="head:6379"))


@pytest.mark.parametrize("address", ["head", "ray://head:10001", ":6379", "head:port"])
def test_an_address_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    with pytest.raises(ClusterError, match="HOST:PORT"):
        check_reachable(Resources(address=address))


def test_versions_are_reported_apart_by_library_and_by_code() -> None:
    here = versions.finder()()
    assert versions.difference(here, dict(here), "n") == ""
    other = versions.difference(here, {**here, "torch": "1.0", versions.CODE: "0"}, "n")
    assert other.startswith(f"node n has torch 1.0 (this machine: {here['torch']});")
    code = versions.difference(here, {**here, versions.CODE: "0"}, "n")
    assert code.startswith("node n has bench's code 0 (this machine: ")


def test_capacity_is_limited_by_the_scarcest_resource_of_each_node() -> None:
    nodes = [{"Resources": {"CPU": 8.0, "GPU": 1.0}}, {"Resources": {"CPU": 3.0}}]
    assert capacity(nodes, 2, 0) == 5
    assert capacity(nodes, 2, 0.5) == 2
    assert capacity(nodes, 16, 0) == 0


def test_processes_follow_from_gpus() -> None:
    assert ray_executor.check_resources(Resources(gpus_per_run=4), "cuda") == 4
    assert ray_executor.check_resources(Resources(gpus_per_run=0.5), "cuda") == 1
    with pytest.raises(SettingsError, match="whole number"):
        ray_executor.check_resources(Resources(gpus_per_run=1.5), "cuda")


def test_offered_files_are_known_by_content(tmp_path: Path) -> None:
    """Pixels by samples and the description of their cache, any other file by all of it."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "cache.json").write_text("{}")
    (folder / "pixels.json").write_text("{}")
    np.save(folder / "pixels.npy", np.arange(10_000))
    pixels = FileRefs().pixels(folder / "pixels.npy")
    assert pixels.is_at(folder / "pixels.npy")
    np.save(folder / "pixels.npy", np.arange(10_000) + 1)
    assert not pixels.is_at(folder / "pixels.npy")
    (folder / "cache.json").write_text('{"version": 2}')
    assert FileRefs().pixels(folder / "pixels.npy").digest != pixels.digest
    weights = FileRefs().whole("weights", folder / "cache.json")
    assert weights.is_at(folder / "cache.json")
    assert not dataclasses.replace(weights, sha256="0").is_at(folder / "cache.json")


def test_pieces_of_a_file_make_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.engine.executors.ray.bundle.CHUNK_BYTES", 4)
    (tmp_path / "file").write_bytes(b"0123456789")
    pieces = [read_chunk(str(tmp_path / "file"), start)[0] for start in (0, 4, 8)]
    assert b"".join(pieces) == b"0123456789"


@pytest.mark.parametrize("name", ["../spec.json", "/etc/passwd", "a/../b", "", "a/b/c", "a\0"])
def test_a_file_that_comes_from_a_node_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a valid name"):
        received_path(tmp_path, name)


def lose_node() -> Iterator[Message]:
    """What comes of a task whose worker is killed."""
    exceptions = pytest.importorskip("ray.exceptions")
    yield Started("10.0.0.2 (abc)")
    raise exceptions.WorkerCrashedError


def refuse() -> Iterator[Message]:
    yield Ended("refused", "node 10.0.0.2 (abc) has no room")


def send_damaged() -> Iterator[Message]:
    yield Started("10.0.0.2 (abc)")
    yield Chunk("model.safetensors", b"half", "0" * 64)
    yield Ended("record")


class FarAway:
    """Brings runs to nodes that do the same with all of them."""

    measures_at_once = True

    def __init__(self, messages: Callable[[], Iterator[Message]]) -> None:
        self.messages = messages

    def waits_for(self, spec: RunSpec, running: int) -> str:
        return "the others" * bool(running)

    def start(self, spec: RunSpec, folder: RunFolder, measure: bool) -> RayRun:
        return RayRun(
            spec, folder, lambda attempt: Task(self.messages(), lambda: None, lambda insist: None)
        )

    def ended(self, run: RunAtWork) -> None: ...


def heard(run: RayRun) -> list[Event]:
    """All that a run says, to its end."""
    result: list[Event] = []
    closed = False
    while not closed:
        events, closed = run.read()
        result += events
        time.sleep(0 if closed else 0.01)
    return result


def test_a_run_restarts_three_times_where_its_node_is_lost(tmp_path: Path) -> None:
    """Each retry is reported; finally the run is lost, which is not a failure of the run."""
    run = FarAway(lose_node).start(make_spec(), RunFolder(tmp_path), True)
    output = [event.text for event in heard(run) if isinstance(event, Note)]
    assert [text[-12:] for text in output if "was lost" in text] == [
        f"retry {number} of 3" for number in (1, 2, 3)
    ]
    result = run.outcome()
    assert isinstance(result, Failure)
    assert (result.lost, result.attempts) == (True, 4)
    assert "10.0.0.2 (abc) was lost" in result.reason


def fill(folder: RunFolder, spec: RunSpec) -> None:
    """Nothing: these nodes read no files."""


def test_a_lost_run_is_tried_again_unasked_and_a_failed_one_is_not(tmp_path: Path) -> None:
    for messages, result in ((lose_node, "was lost"), (refuse, "no room")):
        policy = Policy(executor=FarAway(messages))
        (failure,) = run_plan([make_spec()], tmp_path, fill, [], policy).failed
        assert result in failure.reason
    last = run_plan([make_spec()], tmp_path, fill, [], policy)
    assert (len(last.failed), len(last.failed_before)) == (0, 1)


def test_a_file_that_comes_damaged_is_not_kept(tmp_path: Path) -> None:
    run = FarAway(send_damaged).start(make_spec(), RunFolder(tmp_path), True)
    heard(run)
    result = run.outcome()
    assert isinstance(result, Failure)
    assert (
        result.reason == "node 10.0.0.2 (abc): its file model.safetensors was damaged in transfer"
    )
    assert not (tmp_path / "model.safetensors").exists()
