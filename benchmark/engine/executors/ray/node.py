"""Execute a run on a node of a Ray cluster, in the same kind of process as on this machine.

Its files come from the driver's machine and are sent back there. Only the driver uses MLflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import selectors
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from benchmark.engine.executors.ray import versions
from benchmark.engine.executors.ray.bundle import (
    CHUNK_BYTES,
    Begun,
    Chunk,
    Ended,
    FileRef,
    Lines,
    Message,
    RunBundle,
    place,
    read_chunk,
)
from benchmark.engine.executors.ray.ray_errors import error_text
from benchmark.engine.process import RunProcess
from benchmark.runs import run_folder as files
from benchmark.runs.record import Failure, RunRecord
from benchmark.runs.run_folder import RunFolder
from benchmark.runs.spec import RunSpec
from benchmark.runs.user_cache import user_cache_folder
from clothclf.data.atomic import new_file, write_bytes
from clothclf.data.checked import checksum_file

FOLDER_VARIABLE = "BENCH_NODE_FOLDER"
"""Variable that names a node's folder for data, weights and current runs."""
LOOK_EVERY_S = 0.25
OWN_FILES = (files.SPEC, files.CONFIG, files.MANIFEST, files.FINDINGS)
"""Files that are not sent back, because the driver's machine has them."""


class StopSignal:
    """Sends stop requests to runs on nodes; an actor on the driver's machine.

    If that machine is lost, so is the actor, which also stops its runs.
    """

    def __init__(self) -> None:
        """Start without requests."""
        self._asked: dict[str, asyncio.Event] = {}

    async def wait(self, run: str) -> None:
        """Wait until the run is requested to stop."""
        await self._asked.setdefault(run, asyncio.Event()).wait()

    async def set(self, run: str) -> None:
        """Request the run to stop."""
        self._asked.setdefault(run, asyncio.Event()).set()


def node_folder() -> Path:
    """Return this node's folder for data, weights and current runs."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return Path(folder).absolute()
    return user_cache_folder()


def run_task(bundle: RunBundle, stop_signal: Any) -> Iterator[Message]:
    """Execute a run on this node; yield its events, then its files, then how it ended."""
    node = node_name()
    yield Begun(node)
    unlike = versions.difference(bundle.versions, versions.finder()(), node)
    if unlike:
        yield Ended("refused", unlike)
        return
    with contextlib.ExitStack() as around:
        try:
            folder = around.enter_context(_run_folder(bundle))
            spec = _unpack(bundle, folder)
            process = _start(bundle, spec, folder)
        except Exception as error:  # disk, network, object store: faults of the node, not the run
            yield Ended("refused", f"node {node}: {error_text(error, str(node_folder()))}")
            return
        around.callback(process.end)
        yield from _events(process, stop_signal.wait.remote(bundle.run))
        result = process.outcome()
        yield from _results(folder, bundle)
        if isinstance(result, RunRecord):
            yield Ended("record", shared=_shared(node, bundle))
        else:
            yield Ended("failure" if isinstance(result, Failure) else "stopped")


def node_name() -> str:
    """Return the display name of this node: its address and a prefix of its Ray node id."""
    import ray

    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"


@contextlib.contextmanager
def _run_folder(bundle: RunBundle) -> Iterator[RunFolder]:
    """Create a folder for one run, after deleting those of killed workers."""
    runs = node_folder() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for lock_file in runs.glob("*.lock"):
        with contextlib.suppress(OSError, filelock.Timeout), filelock.FileLock(lock_file, 0):
            shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
            lock_file.unlink()
    path = runs / bundle.run
    with filelock.FileLock(f"{path}.lock"):
        try:
            path.mkdir()
            yield RunFolder(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _unpack(bundle: RunBundle, folder: RunFolder) -> RunSpec:
    """Write the input files of the run; return its spec with this node's paths."""
    (folder.path / files.CHECKPOINTS).mkdir()
    for name, content in bundle.small.items():
        target = place(folder.path, name)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    for name, file_ref in bundle.large.items():
        target = place(folder.path, name)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(_at_hand(file_ref, bundle.home), target)
    original = RunSpec.model_validate_json(bundle.spec)
    weights = original.weights
    if bundle.weights is not None:
        weights = dataclasses.replace(weights, path=_at_hand(bundle.weights, bundle.home))
    paths = {
        "pixels": _at_hand(bundle.pixels, bundle.home),
        "cache": node_folder() / "cache",
        "weights": weights,
    }
    spec = original.model_copy(update=paths)
    folder.write(files.SPEC, spec)
    return spec


def _at_hand(file_ref: FileRef, home: str) -> Path:
    """Return the path of a referenced file: the original, or a copy in this node's cache."""
    if file_ref.is_at(file_ref.path):
        return file_ref.path
    kept = node_folder() / "files" / f"{file_ref.digest}{file_ref.path.suffix}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{kept}.lock"):
        if not file_ref.is_at(kept):
            _fetch(file_ref, kept, home)
        if file_ref.checksums:
            write_bytes(checksum_file(kept), file_ref.checksums)
    return kept


def _fetch(file_ref: FileRef, target: Path, home: str) -> None:
    """Fetch a file in chunks through the object store, verifying each."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(home, soft=False)
    remote = ray.remote(num_cpus=0, scheduling_strategy=there)(read_chunk)
    with new_file(target) as unfinished:
        with unfinished.open("wb") as file:
            for start in range(0, file_ref.size, CHUNK_BYTES):
                content, sha256 = ray.get(remote.remote(str(file_ref.path), start))
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise OSError(f"{file_ref.called} was damaged in transfer")
                file.write(content)
        if not file_ref.is_at(unfinished):
            raise OSError(f"{file_ref.called} ({file_ref.path}) changed during the transfer")


def _start(bundle: RunBundle, spec: RunSpec, folder: RunFolder) -> RunProcess:
    # Ray sets the visible GPUs of a task with GPUs. A task without must not use those of others.
    limits = bundle.limits
    if not bundle.uses_gpus:
        limits = dataclasses.replace(limits, visible_gpus="")
    return RunProcess(spec, folder, limits)


def _events(process: RunProcess, stop_request: Any) -> Iterator[Lines]:
    """Yield the events of the process until it ends; forward a stop request to it."""
    import ray

    forwarded = False
    with selectors.DefaultSelector() as selector:
        selector.register(process, selectors.EVENT_READ)
        while True:
            selector.select(LOOK_EVERY_S)
            events, closed = process.read()
            if events:
                text = "".join(event.model_dump_json() + "\n" for event in events)
                yield Lines(text.encode())
            if closed:
                return
            late = process.lateness()
            if late:
                process.end(late)
                return
            if not forwarded and ray.wait([stop_request], timeout=0, fetch_local=False)[0]:
                forwarded = True
                process.request_stop()


def _results(folder: RunFolder, bundle: RunBundle) -> Iterator[Chunk]:
    """Yield the files that the run created or changed, the record last."""
    made = [path for path in sorted(folder.path.rglob("*")) if path.is_file()]
    made.sort(key=lambda path: path.name == files.RECORD)
    for path in made:
        name = path.relative_to(folder.path).as_posix()
        if name in OWN_FILES or path.name.startswith("."):
            continue
        digest, left = hashlib.sha256(), path.stat().st_size
        with path.open("rb") as file:
            while True:
                content = file.read(CHUNK_BYTES)
                digest.update(content)
                left -= len(content)
                if left <= 0 or not content:
                    yield Chunk(name, content, digest.hexdigest())
                    break
                yield Chunk(name, content)


def _shared(node: str, bundle: RunBundle) -> str:
    """Return why measured speeds are unreliable; empty if no other run could use the node."""
    import ray

    own = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
    name = ray.get_runtime_context().get_node_id()
    (found,) = [item for item in ray.nodes() if item["NodeID"] == name]
    cores = found["Resources"].get("CPU", 0.0)
    if own >= cores:
        return ""
    return f"other runs could use its node (the run had {own:g} of {cores:g} CPUs)"
